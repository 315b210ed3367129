"""Time by hand: a clock that moves when told, and a loop on which waiting costs nothing.

On a :class:`VirtualLoop` whatever is scheduled runs in its order, but between
two events no time passes: two minutes of anti-entropy take milliseconds, and a
run repeats itself exactly. It is for code without sockets and worker threads.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class ManualClock:
    """Seconds that pass only by :meth:`move`; call it to read it."""

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        """Begin at ``now_s`` (Unix seconds, or any other zero)."""
        self.now_s = now_s

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now_s

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


class _Jumping(selectors.SelectSelector):
    """Instead of waiting, it tells the loop how long it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing is scheduled any more: this would wait for ever")
            self.now_s += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time that begins at 0."""

    def __init__(self) -> None:
        """Begin at second 0."""
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual seconds."""
        return self._jumping.now_s


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end in virtual time and return its result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
