"""The parent: starts three node processes, tells them what to do, never touches their homes."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from hivelearn.errors import DeviceError

Message = dict[str, Any]
END_WAIT_S = 20.0
REPLY_WAIT_S = 3_600.0  # of one step; a hot machine may rest long, and says so when it begins


class ChildError(DeviceError):
    """A node process failed or fell silent."""

    remedy = "Run again; if it happens twice, `hivelearn doctor` names what is wrong here."


class Actor:
    """One node process and the pipe to it."""

    def __init__(self, number: int, plan: Message, hear: Callable[[str], None]) -> None:
        self.name = f"node-{number + 1}"
        self._hear = hear
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hivelearn.demo.child", json.dumps({**plan, "number": number})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def tell(self, do: str, **more: Any) -> Message:
        """Send one request and return its answer.

        Raises:
            ChildError: the process refused, died or fell silent.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watchdog = threading.Timer(REPLY_WAIT_S, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self._process.stdin.flush()
            for line in self._process.stdout:
                answer: Message = json.loads(line)
                if "say" in answer:
                    self._hear(f"{self.name}: {answer['say']}")
                elif "error" in answer:
                    raise ChildError(f"{self.name}: {answer['error']}", remedy=answer["remedy"])
                else:
                    return answer
        except BrokenPipeError:
            pass  # it died between two requests: said below
        finally:
            watchdog.cancel()
        raise ChildError(f"{self.name} ended during {do!r} (exit {self._process.wait()})")

    def terminate(self) -> None:
        """Ask it to stop in the middle of what it does; it still removes its own home."""
        self._process.terminate()

    def end(self) -> None:
        """Close its input, which ends it; kill it if it does not listen."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=END_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Director:
    """All the actors; use it in a ``with`` block."""

    def __init__(self, count: int, plan: Message, hear: Callable[[str], None]) -> None:
        self.actors = [Actor(number, plan, hear) for number in range(count)]

    def all(self, do: str, **more: Any) -> list[Message]:
        """Tell all of them the same at once; return their answers in order."""
        return self.each(do, [more] * len(self.actors))

    def each(self, do: str, requests: Sequence[Message]) -> list[Message]:
        """Tell each its own at once; return their answers in order."""
        with ThreadPoolExecutor(len(self.actors)) as pool:
            told = [
                pool.submit(actor.tell, do, **request)
                for actor, request in zip(self.actors, requests, strict=True)
            ]
            try:
                return [future.result() for future in told]
            except BaseException:
                self.terminate()  # else the pool would wait until the others are done, for minutes
                raise

    def terminate(self) -> None:
        """Ask all of them to stop in the middle of what they do."""
        for actor in self.actors:
            actor.terminate()

    def __enter__(self) -> Self:
        """Use the actors in a block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End them all, whatever happened; at once if something did."""
        if error is not None:
            self.terminate()
        with ThreadPoolExecutor(len(self.actors)) as pool:
            list(pool.map(Actor.end, self.actors))
