"""One line of `hivelearn doctor`, and how a check becomes one.

A check says ok, unknown (nothing to mend, only nothing to know) or problem with
what to do. A check that fails in any way is a problem, never a traceback: a
doctor must not faint.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from hivelearn.errors import HivelearnError
from hivelearn.printable import printable

State = Literal["ok", "unknown", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's."""

    name: str
    state: State
    what: str
    todo: str = ""

    def __str__(self) -> str:
        """The line; a problem has a second one."""
        line = f"{self.state:<8} {self.name:<16} {printable(self.what)}"
        return f"{line}\n{'':<25} → {printable(self.todo)}" if self.todo else line


def guarded(name: str, check: Callable[[], Check]) -> Check:
    """Return what ``check`` says, under this name; what it raises is a problem."""
    try:
        return replace(check(), name=name)
    except Exception as error:  # noqa: BLE001 - a broken package breaks in its own way
        return failed(name, error)


def failed(name: str, error: Exception) -> Check:
    """Return the line of a check that could not be made."""
    if isinstance(error, HivelearnError):
        return Check(name, "problem", error.what, error.remedy)
    return Check(name, "problem", f"{type(error).__name__}: {error}", "Reinstall hivelearn.")


def ok(what: str) -> Check:
    """Return a check that found nothing wrong; :func:`guarded` names it."""
    return Check("", "ok", what)
