"""What was acknowledged, counted outside the database, so that no loss is silent.

SQLite takes a cut or missing write-ahead log for the end of what was written, and a
file of no bytes for a new one. So each transaction counts itself in the table `tally`,
and after its commit the same line is written here. A database that holds fewer commits
than its witness has lost something that was acknowledged.

The order makes the witness honest: the commit is on the disk before its line is
written, so a crash between the two leaves a witness that knows less, never more. A
reader asks in the other order, the witness first, for the same reason.

The file has two places for a line, written in turn: a line that is cut by a crash is
told by its check sum, and the one before it still stands. A line is not synced by itself,
which would double what a commit costs; the system writes it within half a minute, and
:meth:`Witness.close` at once.
"""

import json
import os
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

from hivelearn.files import PRIVATE, disk, sync_file

LINE_BYTES: Final = 128  # two numbers, an id and a check sum; within one page of any disk
_PLACES: Final = 2
LOSS_REMEDY: Final = (
    "Restore the home from a backup, or import again what you have kept elsewhere "
    "(`hivelearn corrections import`); then delete {path}."
)


@dataclass(frozen=True, slots=True)
class Tally:
    """How much a database has acknowledged."""

    commits: int  # transactions that changed something, since the home was made
    corrections: int  # rows that the journal holds
    last: str  # id of the correction that was kept last; empty if that one was forgotten

    def line(self) -> bytes:
        """Return the line that :meth:`parse` reads back."""
        said = f"{self.commits} {self.corrections} {self.last or '-'}"
        checked = f"{said} {zlib.crc32(said.encode()):08x}"
        return f"{checked:<{LINE_BYTES - 1}}\n".encode()

    @classmethod
    def parse(cls, line: bytes) -> Self | None:
        """Return what a line says, or None if it is none, or cut."""
        said, _, check = line.decode("ascii", "replace").rstrip().rpartition(" ")
        try:
            commits, corrections, last = said.split(" ")
            if int(check, 16) != zlib.crc32(said.encode()):
                return None
            return cls(int(commits), int(corrections), "" if last == "-" else last)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Loss:
    """Acknowledged writes that a database does not hold any more."""

    commits: int  # so many fewer than were acknowledged
    corrections: int  # so many fewer; below 0 what was forgotten is back
    last: str  # id of the correction that was kept last, as far as is known
    found_s: float  # seconds since 1970

    def __str__(self) -> str:
        """Return one sentence."""
        writes = "write that was" if self.commits == 1 else "writes that were"
        said = f"{self.commits} {writes} acknowledged {_are(self.commits)} gone from hive.db"
        count = abs(self.corrections)
        if not count:
            return said
        rows = f"{count} correction{'' if count == 1 else 's'}"
        if not self.commits:
            what = "gone from" if self.corrections > 0 else "back in"
            return f"{rows} {_are(count)} {what} hive.db: a part of it is of an earlier time"
        if self.corrections < 0:
            return f"{said}, so {rows} that had been forgotten {_are(count)} back"
        last = f"; the last that was kept is {self.last[:12]}" if self.last else ""
        return f"{said}, {rows} among them{last}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def lost(acknowledged: Tally | None, held: Tally, now_s: float) -> Loss | None:
    """Return what a database that holds ``held`` has lost, or None: nothing, or no witness."""
    if acknowledged is None or held.commits >= acknowledged.commits:
        return None
    return Loss(
        commits=acknowledged.commits - held.commits,
        corrections=acknowledged.corrections - held.corrections,
        last=acknowledged.last,
        found_s=now_s,
    )


def lost_rows(missing: int, held: Tally, now_s: float) -> Loss | None:
    """Return the loss of corrections that the database itself has counted and does not hold.

    Below 0, rows are here that nobody counted: what was forgotten is back.
    """
    return Loss(0, missing, held.last, now_s) if missing else None


class Witness:
    """The file beside a database. Only the holder of the writer lock writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def read(self) -> Tally | None:
        """Return the latest line, or None if there is no whole one. Never raises."""
        with suppress(OSError):
            raw = self.path.read_bytes()
            lines = (raw[at : at + LINE_BYTES] for at in range(0, len(raw), LINE_BYTES))
            found = [tally for tally in map(Tally.parse, lines) if tally is not None]
            return max(found, key=lambda tally: tally.commits, default=None)
        return None

    def write(self, tally: Tally) -> None:
        """Write a line in the place of the last but one.

        What a disk refuses is left: the commit stands, and a witness that knows less is
        no lie. The next one catches up.
        """
        with suppress(OSError):
            if self._file is None:
                flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
                self._file = os.fdopen(os.open(self.path, flags, PRIVATE), "r+b", buffering=0)
            self._file.seek(tally.commits % _PLACES * LINE_BYTES)
            self._file.write(tally.line())

    def close(self) -> None:
        """Bring what was written to the disk."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError), file:  # late is no lie: the next opening writes it again
                sync_file(file.fileno())


class Losses:
    """What was found to be lost, a line each, until its owner deletes the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, loss: Loss) -> None:
        """Write a loss down, durably.

        Raises:
            DiskError: the disk refuses.
        """
        with disk(self.path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            with os.fdopen(os.open(self.path, flags, PRIVATE), "ab") as file:
                file.write(json.dumps(asdict(loss)).encode() + b"\n")
                file.flush()
                sync_file(file.fileno())

    def list(self) -> tuple[Loss, ...]:
        """Return what was written down, oldest first; a line that is none is passed over."""
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return ()
        found = []
        for line in lines:
            with suppress(ValueError, TypeError):
                found.append(Loss(**json.loads(line)))
        return tuple(found)
