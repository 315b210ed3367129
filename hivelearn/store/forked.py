"""What a forked child forgets before its first line runs: its parent's lock and connection.

A child gets a copy of all memory, so it would think that it is the writer. But the
lock is its parent's: what the child releases, the parent has lost. And an SQLite
connection carried over a fork spoils the file, even by being closed there
(sqlite.org/howtocorrupt.html, section 2.6). So the child forgets both and is one more
process that waits its turn; a block that its parent had entered ends there without
doing anything.
"""

import ctypes
import os
from typing import Final, Protocol
from weakref import WeakSet


class Forgetful(Protocol):
    """Something of the parent that must be as new in a forked child."""

    def forget(self) -> None:
        """Be as at the beginning. No other thread runs, and locks of those that did are stuck."""


_parents: Final[WeakSet[Forgetful]] = WeakSet()


def forgets(thing: Forgetful) -> None:
    """Have ``thing`` forget in every child that is forked from now on."""
    _parents.add(thing)


def never_freed(thing: object) -> None:
    """Keep ``thing`` until the process is gone: for what may not even be closed here."""
    # A list would not do: the interpreter clears it at its end and closes what was in it.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _in_child() -> None:
    for thing in list(_parents):
        thing.forget()


if hasattr(os, "register_at_fork"):  # where processes fork
    os.register_at_fork(after_in_child=_in_child)
