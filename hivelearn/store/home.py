"""The directory a node lives in: looked at without a trace, made by the first write, private.

Opening a home makes nothing: a mistyped path that is only read stays absent. Whoever
writes calls :meth:`Home.make` before, and is told if there was none.

A home that can only be read still opens, so that `hivelearn status` works on
it; each write to it is refused. A directory that holds other people's things
is never taken over: making it private would lock them out.
"""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import platformdirs

from hivelearn.files import DiskReadOnlyError, disk, refusal
from hivelearn.store.database import Database
from hivelearn.store.errors import HomePathError, NotAHomeError, UnsafeHomeError, WriterBusyError
from hivelearn.store.lock import LOCK_WAIT_S, WriterLock

APP: Final = "hivelearn"
VARIABLE: Final = "HIVELEARN_HOME"
_ROOMS: Final = ("blobs", "partial", "inbox")
_LOCK: Final = "writer.lock"  # what a home begins with
_HARMLESS: Final = {"lost+found", ".DS_Store"}  # a fresh volume is an empty directory too


def _unheard(_path: Path) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Home:
    """A private directory, or the place for one. Comes from :meth:`at` or :meth:`open`."""

    path: Path
    clock: Callable[[], float] = time.time
    made: Callable[[Path], object] = field(default=_unheard, repr=False, compare=False)
    lock: WriterLock = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lock", WriterLock(self.path, self.clock))

    @classmethod
    def at(
        cls,
        path: Path | str | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
        made: Callable[[Path], object] = _unheard,
    ) -> "Home":
        """Return the home at ``path``; if there is none yet, nothing is made.

        Args:
            path: a directory; None means $HIVELEARN_HOME, else the platform's data directory.
            environ: where HIVELEARN_HOME is looked up.
            clock: seconds since 1970; says since when a writer writes and what is old.
            made: is told when the first write makes the directory.

        Raises:
            HomePathError: it can be no path.
            NotAHomeError: a file, or a directory that holds other things.
            UnsafeHomeError: others can enter and this user cannot change that.
            LaterVersionError: a later hivelearn has written it.
            HomeDamagedError: its database is no database.
        """
        where = _absolute(path, environ)
        home = cls(where, clock, made)
        with disk(where):
            if where.is_dir():
                _refuse_foreign(where)
                _tighten(where)
                for room in _ROOMS:
                    _refuse_file(where, where / room)
                Database(home.database).version()
            elif any(each.exists() and not each.is_dir() for each in (where, *where.parents)):
                raise NotAHomeError(where, "something on its path is a file")
        return home

    @classmethod
    def open(
        cls,
        path: Path | str | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> "Home":
        """Return the home at ``path``, made if there is none; see :meth:`at` and :meth:`make`."""
        home = cls.at(path, environ=environ, clock=clock)
        home.make()
        return home

    @property
    def exists(self) -> bool:
        """Whether it was made."""
        return self.blobs.is_dir()

    def make(self) -> None:
        """Make the directory and its rooms, unless they are there.

        Raises:
            DiskReadOnlyError, DiskFullError: it cannot be made.
            NoLocksError: its file system has no locks.
        """
        if self.exists and all((self.path / room).is_dir() for room in _ROOMS):
            return
        new = not self.exists
        with disk(self.path):
            try:
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise NotAHomeError(self.path, "something on its path is a file") from None
            _refuse_foreign(self.path)
            _tighten(self.path)
        # Rooms last, blobs the last of them: what `exists` looks at says that all is there.
        if new:
            with suppress(WriterBusyError), self.lock.held("make the home", 0.0):
                self._try_locks()
        for room in reversed(_ROOMS):
            _make_room(self.path, self.path / room)
        if new:
            self.made(self.path)

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

    def _try_locks(self) -> None:
        """Find out now, and not when an evening's training ends, that the disk has no locks."""
        database = Database(self.database, busy_wait_s=0.0)
        with database.opened(), database.transaction():
            pass

    @contextmanager
    def writer(self, doing: str, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
        """Hold the writer lock during the block; see :meth:`WriterLock.held`."""
        self.make()
        with self.lock.held(doing, wait_s):
            yield


def _absolute(path: Path | str | None, environ: Mapping[str, str]) -> Path:
    """Return where the home is to be.

    Raises:
        HomePathError: nowhere: empty, with a NUL, not to be encoded, of an unknown user.
    """
    given = str(environ.get(VARIABLE) or _platform_home()) if path is None else str(path)
    if not given.strip() or "\0" in given:
        raise HomePathError(f"{given!r:.80} can be no home")
    try:
        os.fsencode(given)
        return Path(given).expanduser().absolute()
    except (UnicodeError, RuntimeError) as error:
        raise HomePathError(f"{given!r:.80} can be no home: {error}") from None


def _platform_home() -> Path:
    return platformdirs.user_data_path(APP, appauthor=False)


def _refuse_foreign(where: Path) -> None:
    names = {entry.name for entry in where.iterdir()} - _HARMLESS
    if names and not names & {*_ROOMS, _LOCK}:
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


def _refuse_file(where: Path, room: Path) -> None:
    if room.exists() and not room.is_dir():
        raise NotAHomeError(where, f"{room.name!r} in it is a file")


def _make_room(where: Path, room: Path) -> None:
    try:
        room.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        _refuse_file(where, room)
    except OSError as error:
        refused = refusal(error, where)
        if isinstance(refused, DiskReadOnlyError) and (where / _ROOMS[0]).is_dir():
            return  # an old home on read-only media can still be read
        raise refused from error
