"""Files that are whole or absent, also after the power went.

The order is tmp, fsync, rename, directory fsync. Whoever reads the final name
sees all bytes or no file. Errors of the disk leave here as errors of the home.
"""

import errno
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from hivelearn.store.errors import HomeError, HomeFullError, HomeReadOnlyError

Reached = Callable[[str], None]  # called with the name of each crash point as it is passed

TMP_SUFFIX: Final = ".tmp"
_FULL: Final = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_READ_ONLY: Final = {errno.EROFS, errno.EACCES, errno.EPERM}
_serial = itertools.count()


def unwatched(_point: str) -> None:
    """Pass every crash point; tests hand in one that kills the process instead."""


def refusal(error: OSError, path: Path) -> HomeError:
    """Return the home's error for what the operating system said."""
    what = error.strerror or str(error)
    if error.errno in _FULL:
        return HomeFullError(path, what)
    return (HomeReadOnlyError if error.errno in _READ_ONLY else HomeError)(path, what)


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into a :class:`HomeError`."""
    try:
        yield
    except OSError as error:
        raise refusal(error, path) from error


def write_whole(path: Path, data: bytes, reached: Reached = unwatched) -> None:
    """Write ``data`` under ``path``, durably and all at once.

    Raises:
        HomeFullError, HomeReadOnlyError, HomeError: the old file, if any, is untouched.
    """
    # The process id keeps writers apart, the serial the threads of one.
    tmp = path.with_name(f"{path.name}.{os.getpid()}.{next(_serial)}{TMP_SUFFIX}")
    with disk(path):
        try:
            with tmp.open("xb") as file:
                file.write(data)
                file.flush()
                sync_file(file.fileno())
            reached("tmp written")
            rename_whole(tmp, path)
        except BaseException:
            with suppress(OSError):
                tmp.unlink()  # a full disk needs the room back
            raise
    reached("renamed")


def rename_whole(source: Path, target: Path) -> None:
    """Rename a synced file and make the new name durable. Raises OSError."""
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
