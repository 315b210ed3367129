"""Tokens to pieces of text, as they come: together they are what ``generate`` returns."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from hivelearn.inference.stop_strings import cut, sayable

_HALF: Final = "\ufffd"  # how a decoder shows a character whose bytes have not all come


class TextStreamer:
    """What transformers calls a streamer, for one conversation.

    It decodes all tokens so far and says what is new, up to a character that is
    not whole yet. A piecewise decoding (transformers' ``TextStreamer``) would put
    the pieces together differently wherever a token's text depends on its neighbours.

    Args:
        text: tokens to text, as the answer itself is read.
        on_text: hears every piece.
        stops: texts before which the answer ends.
    """

    def __init__(
        self,
        text: Callable[[Sequence[int]], str],
        on_text: Callable[[str], None],
        stops: Sequence[str] = (),
    ) -> None:
        self._text, self._on_text, self._stops = text, on_text, stops
        self._tokens: list[int] = []
        self._said = ""
        self._prompt_came = False

    def put(self, value: Any) -> None:
        """Take the prompt (first call), then each new token; ``value`` is an integer tensor."""
        if not self._prompt_came:
            self._prompt_came = True
            return
        self._tokens += value.reshape(-1).tolist()
        self._say(sayable(self._text(self._tokens).rstrip(_HALF), self._stops))

    def end(self) -> None:
        """Say what was held back."""
        self._say(cut(self._text(self._tokens), self._stops)[0])

    def _say(self, whole: str) -> None:
        if len(whole) > len(self._said) and whole.startswith(self._said):
            self._on_text(whole[len(self._said) :])
            self._said = whole
