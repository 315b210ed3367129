"""A line that moves while something takes long: on a terminal and in Jupyter, else nothing."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


def wanted(setting: bool | None) -> bool:  # noqa: FBT001 - a setting, passed through
    """Return whether to draw: as set, else on a terminal or in a notebook."""
    if setting is not None:
        return setting
    shell = sys.modules.get("IPython")
    inside = shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
    return inside or sys.stderr.isatty()


class Progress:
    """Steps done of steps in all, with the time left, and one remark."""

    def __init__(self, setting: bool | None, title: str, total: int) -> None:  # noqa: FBT001
        self._title, self._total = title, total
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._on = wanted(setting)

    def __enter__(self) -> Self:
        """Start drawing."""
        if self._on:
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
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, remark="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last line standing."""
        if self._bar is not None:
            self._bar.stop()

    def at(self, done: int, remark: str = "") -> None:
        """Move to ``done``."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, remark=remark)

    def say(self, remark: str) -> None:
        """Change the remark."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, remark=remark)
