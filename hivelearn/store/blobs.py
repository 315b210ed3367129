"""Payloads by content id: whole or absent, and changed by nobody but a failing disk.

The name is what the caller says the content's id is (a payload's Merkle root)
or else its SHA-256. Verifying bytes against a Merkle root is the patch room's
work, done before :meth:`Blobs.adopt` and whenever they are read.
"""

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from hivelearn.files import (
    PRIVATE,
    Reached,
    disk,
    rename_whole,
    sync_directory,
    sync_file,
    unwatched,
    write_whole,
)
from hivelearn.store.errors import MissingBlobError

ORPHAN_AGE_S: Final = 3600.0  # between a blob and its row lies less than this
PARTIAL_AGE_S: Final = 7 * 86400.0  # a transfer that rested longer starts again
_NAME: Final = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """The blobs of one home. Writing needs the writer lock; the caller holds it."""

    def __init__(self, root: Path, partials: Path, reached: Reached = unwatched) -> None:
        self._root, self._partials, self._reached = root, partials, reached

    def path(self, name: str) -> Path:
        """Return where the blob ``name`` lies or would lie."""
        if not _NAME.fullmatch(name):  # also what keeps "../" out
            raise ValueError(f"{name!r} is no blob name: 64 lowercase hex digits")
        return self._root / name[:2] / name

    def partial(self, name: str) -> Path:
        """Return where a payload may arrive piece by piece before :meth:`adopt`."""
        return self._partials / self.path(name).name

    def has(self, name: str) -> bool:
        """Return whether the blob is here, whole."""
        return self.path(name).is_file()

    def put(self, data: bytes, name: str | None = None) -> str:
        """Store ``data`` durably and return its name; what a disk has changed is mended so.

        Put the blob before its row, inside one ``store.writing`` block: a crash
        between leaves an orphan for :meth:`sweep`, never a row without a blob.
        """
        name = hashlib.sha256(data).hexdigest() if name is None else name
        target = self._shelf(name)
        with disk(target):
            if target.is_file() and target.read_bytes() == data:
                target.touch()  # young again: its new row comes in a moment
                return name
        write_whole(target, data, self._reached, mode=PRIVATE)
        return name

    def adopt(self, partial: Path, name: str) -> str:
        """Move a verified file of this home in; ``partial`` is gone afterwards."""
        target = self._shelf(name)
        with disk(target):
            with partial.open("rb+") as file:
                sync_file(file.fileno())
            partial.touch()
            self._reached("partial synced")
            rename_whole(partial, target)
        self._reached("renamed")
        return name

    def read(self, name: str) -> bytes:
        """Return the bytes of a blob.

        Raises:
            MissingBlobError: it is not here.
        """
        path = self.path(name)
        with disk(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                raise MissingBlobError(path, "this blob is missing") from None

    def delete(self, name: str) -> None:
        """Remove a blob that no row names any more; absent is fine."""
        with suppress(OSError):  # Windows keeps what is still mapped; the sweep comes again
            self.path(name).unlink()

    def sweep(self, needed: set[str], now_s: float) -> tuple[str, ...]:
        """Delete what a crash left: old temporary files, orphans, forgotten partials.

        Args:
            needed: names that some row still uses.
            now_s: seconds since 1970; younger files are left alone.

        Returns:
            Names of the files removed, sorted.

        Raises:
            DiskError: the folder of what is arriving cannot be looked into.
        """
        orphans = (path for path in self._root.glob("*/*") if path.name not in needed)
        gone = [path.name for path in orphans if _expired(path, now_s, ORPHAN_AGE_S)]
        with disk(self._partials):
            arriving = self._partials.iterdir()
            gone += [path.name for path in arriving if _expired(path, now_s, PARTIAL_AGE_S)]
        return tuple(sorted(gone))

    def _shelf(self, name: str) -> Path:
        target = self.path(name)
        with disk(target):
            if not target.parent.is_dir():
                target.parent.mkdir(mode=0o700, exist_ok=True)
                sync_directory(self._root)
        return target


def _expired(path: Path, now_s: float, age_s: float) -> bool:
    """Delete ``path`` if nobody touched it for ``age_s``; say whether it is gone."""
    try:
        if now_s - path.stat().st_mtime < age_s:
            return False
        path.unlink()
    except OSError:
        return False  # in use, or gone already
    return True
