"""The folder that an adapter is saved as; if there cannot be one: whose fault, what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hivelearn.errors import UsageError
from hivelearn.files import disk


class FolderError(UsageError):
    """An adapter is saved as a folder, and there cannot be one."""

    remedy = "Give the path of a folder, new or to be written over."


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into an error of ours.

    Raises:
        FolderError: something else is where the folder, or a file in it, should be.
        DiskError: the disk refuses.
    """
    with disk(path):
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            what = f"{path} is a file, or holds a folder where a file belongs"
            raise FolderError(what) from None
