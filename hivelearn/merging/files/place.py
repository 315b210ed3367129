"""The folder that a result goes to: refused before any work, and gone if nothing came of it."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from hivelearn.files import Replacement
from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.sources import AdapterSource
from hivelearn.patch.peft_config import WEIGHTS_FILE


class ResultFolder:
    """A folder that is made if it is not there; what was made and stays empty goes again."""

    def __init__(self, folder: Path) -> None:
        """Make it, and its parents. Raises OSError."""
        way = (folder, *folder.parents)
        self._made = [each for each in way if not each.exists()]  # the innermost first
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        """Write into it inside the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """Remove what was made for nothing."""
        for each in self._made:
            with suppress(OSError):  # what is in use is not empty
                each.rmdir()


def refuse_place(out: Path, sources: Sequence[AdapterSource]) -> None:
    """Refuse a folder in which the result would replace or change what is there.

    Raises:
        MergeError: it is the folder of a source, within one or around one; that of a model:
            transformers would load the model with the adapter in it from then on; or where
            one works, which holds other things; or nothing can be written there.
    """
    here, place = Path.cwd(), out.resolve()
    for source in sources:
        theirs = source.folder.resolve() if source.folder else None
        if theirs is not None and (place == theirs or theirs in place.parents):
            raise MergeError(
                f"{out} is {'' if place == theirs else 'within '}the folder of {source.name}, "
                f"which the result would {'replace' if place == theirs else 'become part of'}",
                remedy="Give another place with out=... (-o).",
            )
    if place == here or place in here.parents:
        raise MergeError(
            f"{out} is the folder in which you work, or one around it, and the result needs one "
            "of its own",
            remedy="Name a new folder with out=... (-o).",
        )
    if (out / "config.json").exists():
        raise MergeError(
            f"{out} is the folder of a model, and an adapter in it would change what it loads",
            remedy="Give another place with out=... (-o); to merge into the model: merge_into, "
            "or --base.",
        )
    try:
        with ResultFolder(out), Replacement(out / WEIGHTS_FILE):
            pass
    except OSError as error:
        raise unwritable(out, error) from None


def refuse_full(folder: Path, nbytes: int) -> None:
    """Raise MergeError if the disk has no room for so many bytes."""
    with suppress(OSError):  # a file system that does not say is tried
        free = shutil.disk_usage(folder).free
        if free < nbytes:
            error = f"{nbytes / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free"
            raise MergeError(
                f"{folder} cannot be written: {error}",
                remedy="Give another place with out=..., or free space there.",
            )


def unwritable(path: Path, error: OSError) -> MergeError:
    """Return the error for a place that the operating system refuses."""
    return MergeError(
        f"{path} cannot be written: {error.strerror or error}",
        remedy="Give another place with out=..., or free space there; the sources are untouched.",
    )
