"""Files that are whole or absent, also after the power went.

The order is: a temporary file, fsync, rename, fsync of the directory. Whoever reads
the final name sees all bytes or what was there before. A file is never changed where
it lies: its old bytes may be mapped by somebody who reads them (a shorter file under
a map is SIGBUS), may be a blob of the Hugging Face cache behind a link, and are all
there is if the disk fills up.
"""

import errno
import filecmp
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from hivelearn.errors import DeviceError

Reached = Callable[[str], None]  # called with the name of each crash point as it is passed

TMP_SUFFIX: Final = ".tmp"
PRIVATE: Final = 0o600  # what a person said, and keys: for this user alone
_FULL: Final = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_READ_ONLY: Final = {errno.EROFS, errno.EACCES, errno.EPERM}


class DiskError(DeviceError):
    """The disk refused something; nothing was changed."""

    remedy = "Nothing was changed. Check the disk and its permissions, then try again."

    def __init__(self, path: Path, what: str, *, remedy: str | None = None) -> None:
        self.path, self.said = path, what
        super().__init__(f"{path}: {what}", remedy=remedy)


class DiskFullError(DiskError):
    """No room left for a write; what was stored before is whole."""

    remedy = "Nothing was lost. Free disk space (or raise the quota) and repeat the last command."


class DiskReadOnlyError(DiskError):
    """The place can be read at best."""

    remedy = (
        "Make the directory writable for this user, or choose another one "
        "(for the home: HIVELEARN_HOME)."
    )


def refusal(error: OSError, path: Path) -> DiskError:
    """Return our error for what the operating system said."""
    what = error.strerror or str(error)
    if error.errno in _FULL:
        return DiskFullError(path, what)
    return (DiskReadOnlyError if error.errno in _READ_ONLY else DiskError)(path, what)


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into a :class:`DiskError`."""
    try:
        yield
    except OSError as error:
        raise refusal(error, path) from error


def unwatched(_point: str) -> None:
    """Pass every crash point; tests hand in one that kills the process instead."""


class Replacement:
    """A file under a name of its own that takes the place of ``path`` when it is whole.

    Use it in a ``with`` block, which leaves nothing half-written behind. Each
    writer has a name that nobody else has: of two at once the last one stays.
    Its methods raise OSError.
    """

    def __init__(self, path: Path, mode: int = 0o666) -> None:
        """Make the temporary file, beside ``path``, for a rename stays on one disk.

        Args:
            path: what to replace, or a new name.
            mode: permission bits of the file, less the process's umask.
        """
        if path.is_dir():  # known now, and not when half of the files are in place
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        self.path = path
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(8)}{TMP_SUFFIX}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self.file: IO[bytes] = os.fdopen(os.open(self._part, flags, mode), "wb")

    def __enter__(self) -> Self:
        """Write ``file`` inside the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """Remove what was not put in place."""
        # Closing writes what is buffered, which a full disk refuses; it goes all the same.
        try:
            with suppress(OSError):
                self.file.close()
        finally:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)

    def finish(self) -> None:
        """Bring every byte to the disk: after this only a rename is left."""
        self.file.flush()
        sync_file(self.file.fileno())
        self.file.close()

    def put_in_place(self) -> None:
        """Give the finished file its name; a link there is replaced, not followed."""
        rename_whole(self._part, self.path)

    def set_aside(self) -> Path | None:
        """Move away what has the name, and return where to; None if it is nothing or the same."""
        if not self.path.is_file() or filecmp.cmp(self.path, self._part, shallow=False):
            return None
        aside = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}{TMP_SUFFIX}")
        rename_whole(self.path, aside)
        return aside


def replace_all(replacements: tuple[Replacement, ...]) -> None:
    """Put files that belong together in place, none before all are on the disk. Raises OSError.

    The last is the one without which the others mean nothing. If another stands under its name,
    that goes first: a process that dies between two renames leaves files that nobody opens,
    never the new half of one thing with the old half of another.
    """
    for each in replacements:
        each.finish()
    *rest, last = replacements
    aside = last.set_aside() if rest else None
    put = 0
    try:
        for each in replacements:
            each.put_in_place()
            put += 1
    except OSError:
        if aside is not None and not put:  # all is as it was
            rename_whole(aside, last.path)
        raise
    if aside is not None:
        aside.unlink(missing_ok=True)


def write_whole(
    path: Path, data: bytes, reached: Reached = unwatched, *, mode: int = 0o666
) -> None:
    """Write ``data`` under ``path``, durably and all at once.

    Raises:
        DiskFullError, DiskReadOnlyError, DiskError: the old file, if any, is untouched.
    """
    with disk(path), Replacement(path, mode) as new:
        new.file.write(data)
        new.finish()
        reached("tmp written")
        new.put_in_place()
    reached("renamed")


def rename_whole(source: Path, target: Path) -> None:
    """Rename a synced file or folder and make the new name durable. Raises OSError."""
    source.replace(target)
    sync_directory(target.parent)


def sync_file(fd: int) -> None:
    """Flush an open file to the medium. Raises OSError."""
    if sys.platform == "darwin":
        import fcntl

        with suppress(OSError):  # not every file system knows it
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync on macOS stops at the drive's cache
            return
    os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Make renames inside ``path`` durable; does nothing where directories cannot be opened."""
    if sys.platform == "win32":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
