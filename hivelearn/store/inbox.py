"""Corrections left by processes that do not hold the writer lock.

One whole file each, named by time and content id. The next writer moves them
into the journal in one transaction and deletes the files afterwards; a crash
between the two only means that the same ids are moved once more. A file that
does not hold what its name says is set aside for a person, never fatal.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from hivelearn.files import PRIVATE, TMP_SUFFIX, Reached, disk, unwatched, write_whole
from hivelearn.store.correction import Correction, from_plain, to_plain
from hivelearn.store.errors import CorrectionError

# JSON escapes make at most six bytes of one; the rest of a record is small.
FILE_MAX_BYTES: Final = 512 * 1024
TMP_AGE_S: Final = 3600.0  # an unfinished file this old belongs to a dead process
_SUFFIX: Final = ".json"


class Inbox:
    """The inbox folder of one home. Leaving needs no lock; draining does."""

    def __init__(self, folder: Path, reached: Reached = unwatched) -> None:
        self._folder, self._aside, self._reached = folder, folder / "aside", reached

    def leave(self, correction: Correction) -> None:
        """Store a correction durably; every reader sees it from now on.

        Raises:
            DiskFullError, DiskReadOnlyError: it is not stored.
        """
        path, plain = self._path(correction), to_plain(correction)
        write_whole(path, json.dumps(plain).encode(), self._reached, mode=PRIVATE)

    def waiting(self) -> tuple[Correction, ...]:
        """Return what lies here, oldest first; garbage is passed over."""
        found = ((path, _read(path)) for path in self._files())
        return tuple(correction for _, correction in found if correction is not None)

    def since(self, time_s: float) -> tuple[Correction, ...]:
        """Return what lies here and is not older than ``time_s``; reads no other file."""
        first = _stamp(time_s)
        found = (_read(path) for path in self._files() if path.name >= first)
        return tuple(correction for correction in found if correction is not None)

    def garbage(self) -> tuple[Path, ...]:
        """Return the files that were set aside, for `hivelearn doctor`."""
        return tuple(sorted(self._aside.glob("*"))) if self._aside.is_dir() else ()

    def discard(self, corrections: Iterable[Correction]) -> None:
        """Delete the files of corrections that are in the journal now."""
        for correction in corrections:
            with suppress(FileNotFoundError), disk(self._folder):
                self._path(correction).unlink()

    def tidy(self, now_s: float) -> None:
        """Set garbage aside and delete what a killed process left half written."""
        for path in self._files():
            if path.exists() and _read(path) is None:
                with disk(self._folder):
                    self._aside.mkdir(mode=0o700, exist_ok=True)
                    path.replace(self._aside / path.name)
        for path in self._folder.glob(f"*{TMP_SUFFIX}"):
            with suppress(OSError):
                if now_s - path.stat().st_mtime > TMP_AGE_S:
                    path.unlink()

    def _path(self, correction: Correction) -> Path:
        return self._folder / f"{_stamp(correction.created_s)}-{correction.id}{_SUFFIX}"

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"))


def _stamp(time_s: float) -> str:
    """Return the beginning of a file's name: microseconds, in the order of the alphabet."""
    return f"{round(time_s * 1e6):018d}"


def _read(path: Path) -> Correction | None:
    try:
        if path.stat().st_size > FILE_MAX_BYTES:
            return None
        plain = json.loads(path.read_bytes())
        correction = from_plain(plain) if isinstance(plain, dict) else None
    except (OSError, ValueError, RecursionError, CorrectionError):
        return None  # drained meanwhile, or garbage
    named = correction is not None and path.stem.endswith(f"-{correction.id}")
    return correction if named else None
