"""A folder that cannot be written: whose fault, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hivelearn.errors import DeviceError, UsageError


class FolderError(UsageError):
    """An adapter is saved as a folder, and there cannot be one."""

    remedy = "Give the path of a folder, new or to be written over."


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
