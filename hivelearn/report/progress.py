"""A line that moves while something takes long: on a terminal and in Jupyter, else nothing.

The terminal's line is rich's. In a notebook rich and tqdm need ipywidgets, a
server extension that we do not ask anybody to install; there one output of the
cell is written anew instead, as text, which every notebook and every saved copy shows.
"""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

BAR_CHARACTERS: Final = 24
REDRAWN_S: Final = 0.25  # a page redrawn at every step would cost more than a small step


def wanted(setting: bool | None) -> bool:  # noqa: FBT001 - a setting, passed through
    """Return whether to draw: as set, else on a terminal or in a notebook."""
    return setting if setting is not None else in_notebook() or sys.stderr.isatty()


def in_notebook() -> bool:
    """Return whether a Jupyter kernel, of whatever make, runs this program."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return running is not None and "IPKernelApp" in running.config


def line_on_stderr(setting: bool | None) -> Callable[[str], None]:  # noqa: FBT001 - a setting
    """Return what says a line on stderr if :func:`wanted`, for work of a few long steps."""
    if not wanted(setting):
        return lambda _: None

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    return say


class _Line(Protocol):
    """Where the line is drawn."""

    def draw(self, done: int, remark: str, *, at_once: bool) -> None: ...
    def resize(self, total: int) -> None: ...
    def stop(self) -> None: ...


class Progress:
    """Steps done of steps in all, with the time left, and one remark."""

    def __init__(self, setting: bool | None, title: str, total: int) -> None:  # noqa: FBT001
        self._title, self._total = title, total
        self._done = 0
        self._on = wanted(setting)
        self._line: _Line | None = None

    def __enter__(self) -> Self:
        """Start drawing."""
        if self._on:
            line = _Cell if in_notebook() else _Terminal
            self._line = line(self._title, self._total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last line standing."""
        if self._line is not None:
            self._line.stop()

    def at(self, done: int, remark: str = "", total: int | None = None) -> None:
        """Move to ``done``; the work may turn out to be of another size."""
        self._done = done
        if total is not None and total != self._total:
            self._total = total
            if self._line is not None:
                self._line.resize(total)
        if self._line is not None:
            self._line.draw(done, remark, at_once=False)

    def say(self, remark: str) -> None:
        """Change the remark."""
        if self._line is not None:
            self._line.draw(self._done, remark, at_once=True)  # a rest may follow, and be long


class _Terminal:
    """rich's bar on stderr."""

    def __init__(self, title: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[remark]}"),
        )
        self._bar: Bar = Progress(*columns, console=Console(stderr=True))
        self._bar.start()
        self._task = self._bar.add_task(title, total=total, remark="")

    def draw(self, done: int, remark: str, *, at_once: bool) -> None:  # noqa: ARG002 - rich's choice
        self._bar.update(self._task, completed=done, remark=remark)

    def resize(self, total: int) -> None:
        self._bar.update(self._task, total=total)

    def stop(self) -> None:
        self._bar.stop()


class _Cell:
    """One output of a notebook's cell, written anew."""

    def __init__(
        self, title: str, total: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        from IPython.display import display

        self._title, self._total, self._monotonic = title, total, monotonic
        self._first: tuple[int, float] | None = None  # (done, when) of the first step seen
        self._drawn_s, self._last = monotonic(), (0, "")
        self._shown: Any = display(self._page(None), raw=True, display_id=True)

    def draw(self, done: int, remark: str, *, at_once: bool) -> None:
        now_s = self._monotonic()
        self._last = done, remark
        if self._first is None and done:
            self._first = done, now_s  # a training that goes on does not begin at 0
        if at_once or now_s - self._drawn_s >= REDRAWN_S:
            self._write(now_s)

    def resize(self, total: int) -> None:
        self._total = total

    def stop(self) -> None:
        self._write(self._monotonic())

    def _write(self, now_s: float) -> None:
        self._drawn_s = now_s
        left_s = None
        if self._first is not None:
            left_s = seconds_left(*self._first, self._last[0], now_s, self._total)
        self._shown.update(self._page(left_s), raw=True)

    def _page(self, left_s: float | None) -> dict[str, str]:
        import html

        text = line(self._title, self._last[0], self._total, left_s, self._last[1])
        return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}


def seconds_left(first: int, first_s: float, done: int, now_s: float, total: int) -> float | None:
    """Return the time that the rest takes at the mean pace since ``first``; None if unknown."""
    return (now_s - first_s) / (done - first) * (total - done) if done > first else None


def line(title: str, done: int, total: int, left_s: float | None, remark: str) -> str:
    """Return ``train roman  ━━━━━━──────  120/240  0:00:41 left  loss 0.123``."""
    full = BAR_CHARACTERS * done // max(1, total)
    bar = "━" * full + "─" * (BAR_CHARACTERS - full)
    left = "" if left_s is None or done >= total else f"{_clock(left_s)} left"
    return "  ".join(part for part in (title, bar, f"{done}/{total}", left, remark) if part)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
