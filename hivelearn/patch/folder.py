"""Files of a folder written whole or not at all; if they cannot be: whose fault, what to do.

A file is never changed where it lies. Its old bytes may be mapped by a merge
that reads them (a shorter file under a map is SIGBUS), may be a blob of the
Hugging Face cache behind a link, and are all there is if the disk fills up.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from hivelearn.errors import DeviceError, UsageError


class FolderError(UsageError):
    """An adapter is saved as a folder, and there cannot be one."""

    remedy = "Give the path of a folder, new or to be written over."


_PART: Final = ".part"


class Replacement:
    """A file under a name of its own that takes the place of ``path`` when it is whole.

    Use it in a ``with`` block, which leaves nothing half-written behind. Each
    writer has a name that nobody else has: of two at once the last one stays.
    """

    def __init__(self, path: Path) -> None:
        """Make the temporary file, beside ``path``, for a rename stays on one disk."""
        if path.is_dir():  # known now, and not when half of the files are in place
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        self._path = path
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_PART}")
        self.file: IO[bytes] = self._part.open("xb")

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
        os.fsync(self.file.fileno())
        self.file.close()

    def put_in_place(self) -> None:
        """Give the finished file its name; a link there is replaced, not followed."""
        self._part.replace(self._path)


def replace_all(replacements: tuple[Replacement, ...]) -> None:
    """Put files that belong together in place, none before all are on the disk."""
    for each in replacements:
        each.finish()
    for each in replacements:
        each.put_in_place()


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into an error of ours.

    Raises:
        FolderError: something else is where the folder, or a file in it, should be.
        DeviceError: the disk refuses.
    """
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise FolderError(f"{path} is a file, or holds a folder where a file belongs") from None
    except OSError as error:
        raise DeviceError(
            f"{path} cannot be written: {error.strerror or error}",
            remedy="Free disk space, or give a folder that this user can write.",
        ) from error
