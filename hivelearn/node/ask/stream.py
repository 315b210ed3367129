"""An answer as it comes: pieces of text, and the whole answer when they have ended."""

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, TypeAlias

from hivelearn.inference.completion import Completion, Listener
from hivelearn.inference.engine import require
from hivelearn.inference.messages import Messages
from hivelearn.node.ask import ask
from hivelearn.node.ask.answer import Answer
from hivelearn.node.ask.options import AskOptions
from hivelearn.node.context import NodeContext

_Pieces: TypeAlias = "queue.SimpleQueue[str | Completion | BaseException]"


class AnswerStream(Iterator[str]):
    """Yields an answer's text as it comes. Comes from :meth:`Node.stream`.

    Nothing is generated before the first piece is asked for. ``close()``, the end of
    a ``with`` block, or letting go of the stream ends the generation within a token.
    """

    def __init__(self, context: NodeContext, prompt: "str | Messages", options: AskOptions) -> None:
        self._left = left = threading.Event()  # first: __del__ comes even if the rest fails
        require(context.engine, "stream_text", "streaming")
        rows = [context.engine.encoder.prompt(prompt)]
        chosen, routes = ask.routed(context, rows, options)
        self._pieces: _Pieces = queue.SimpleQueue()
        self._said: Completion | BaseException | None = None  # when it has ended
        self._started = False

        def generate(listener: Listener) -> Completion:
            return chosen.answer(context.engine, rows, routes, options.sampling, listener)[0]

        def as_answer(said: Completion) -> Answer:
            return ask.answer_of(context, prompt, said, routes[0], options)

        # Neither holds this object: letting go of it must end what they began.
        self._speak = _speaker(generate, self._pieces, left)
        self._as_answer = as_answer

    def __next__(self) -> str:
        """Return the next piece of text."""
        if self._left.is_set():
            raise StopIteration
        if not self._started:
            self._started = True
            threading.Thread(target=self._speak, name="hivelearn-stream", daemon=True).start()
        piece = self._pieces.get()
        if isinstance(piece, str):
            return piece
        self._left.set()
        self._said = piece
        if isinstance(piece, BaseException):
            raise piece
        raise StopIteration

    def __del__(self) -> None:
        """End the generation."""
        self._left.set()

    def __enter__(self) -> Self:
        """Read the stream in a block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the generation; what was said until then is the answer."""
        self._left.set()

    @property
    def answer(self) -> Answer:
        """The whole answer, ready to be corrected; it is read to its end unless closed."""
        for _ in self:
            pass
        if self._said is None:  # closed: what the last token brought is still to come
            self._said = self._last() if self._started else Completion("", "cancelled")
        if isinstance(self._said, BaseException):
            raise self._said
        return self._as_answer(self._said)

    def _last(self) -> Completion | BaseException:
        while isinstance(piece := self._pieces.get(), str):
            pass
        return piece


def _speaker(
    generate: Callable[[Listener], Completion], pieces: _Pieces, left: threading.Event
) -> Callable[[], None]:
    """Return what another thread does: generate into ``pieces`` until the reader has ``left``."""

    def speak() -> None:
        try:
            pieces.put(generate(Listener(pieces.put, left.is_set)))
        except BaseException as error:  # noqa: BLE001 - carried over to the reader's thread
            pieces.put(error)

    return speak
