"""The directory a node lives in: found or made, checked, private.

A home that can only be read still opens, so that `hivelearn status` works on
it; each write to it is refused. A directory that holds other people's things
is never taken over: making it private would lock them out.
"""

import os
import stat
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import platformdirs

from hivelearn.files import DiskReadOnlyError, disk, refusal
from hivelearn.store.database import Database
from hivelearn.store.errors import NotAHomeError, UnsafeHomeError
from hivelearn.store.lock import LOCK_WAIT_S, WriterLock

APP: Final = "hivelearn"
VARIABLE: Final = "HIVELEARN_HOME"
_ROOMS: Final = ("blobs", "partial", "inbox")
_HARMLESS: Final = {"lost+found", ".DS_Store"}  # a fresh volume is an empty directory too


@dataclass(frozen=True, slots=True)
class Home:
    """An existing, private directory. Comes from :meth:`open`."""

    path: Path
    clock: Callable[[], float] = time.time
    lock: WriterLock = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lock", WriterLock(self.path, self.clock))

    @classmethod
    def open(
        cls,
        path: Path | str | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> "Home":
        """Return the home at ``path``, made on first use.

        Args:
            path: a directory; None means $HIVELEARN_HOME, else the platform's data directory.
            environ: where HIVELEARN_HOME is looked up.
            clock: seconds since 1970; says since when a writer writes and what is old.

        Raises:
            NotAHomeError: a file, or a directory that holds other things.
            UnsafeHomeError: others can enter and this user cannot change that.
            DiskReadOnlyError, DiskFullError: it does not exist and cannot be made.
            LaterVersionError: a later hivelearn has written it.
            HomeDamagedError: its database is no database.
        """
        where = Path(path or environ.get(VARIABLE) or _platform_home()).expanduser().absolute()
        with disk(where):
            try:
                where.mkdir(mode=0o700, parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise NotAHomeError(where, "something on its path is a file") from None
            _refuse_foreign(where)
            _tighten(where)
        for room in _ROOMS:
            _make_room(where, where / room)
        home = cls(where, clock)
        Database(home.database).version()
        return home

    @property
    def database(self) -> Path:
        """The one SQLite file."""
        return self.path / "hive.db"

    @property
    def blobs(self) -> Path:
        """Content-addressed files."""
        return self.path / "blobs"

    @property
    def partial(self) -> Path:
        """Payloads that are still arriving."""
        return self.path / "partial"

    @property
    def inbox(self) -> Path:
        """Corrections left by processes that do not hold the lock."""
        return self.path / "inbox"

    def writer(self, doing: str, wait_s: float = LOCK_WAIT_S) -> AbstractContextManager[None]:
        """Hold the writer lock during the block; see :meth:`WriterLock.held`."""
        return self.lock.held(doing, wait_s)


def _platform_home() -> Path:
    return platformdirs.user_data_path(APP, appauthor=False)


def _refuse_foreign(where: Path) -> None:
    names = {entry.name for entry in where.iterdir()} - _HARMLESS
    if names and not names & set(_ROOMS):
        raise NotAHomeError(where, f"it holds other things, such as {min(names)!r}")


def _tighten(where: Path) -> None:
    if sys.platform == "win32":
        return  # the user's profile is private there; mode bits mean nothing
    now = where.stat()
    if not stat.S_IMODE(now.st_mode) & 0o077:
        return
    try:
        where.chmod(0o700)
    except OSError as error:
        raise UnsafeHomeError(
            where, "others can enter it, and it cannot be made private"
        ) from error


def _make_room(where: Path, room: Path) -> None:
    try:
        room.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        raise NotAHomeError(where, f"{room.name!r} in it is a file") from None
    except OSError as error:
        refused = refusal(error, where)
        if isinstance(refused, DiskReadOnlyError) and (where / _ROOMS[0]).is_dir():
            return  # an old home on read-only media can still be read
        raise refused from error
