"""The feeds of one home: the next number of each, durable before it is signed; and others' forks.

A database can be put back from yesterday. So a small file beside it repeats the
epoch and the last number of every feed, and is on the disk before anything is
signed. A row that is missing or behind the file is a row of yesterday: its feed
begins a new epoch (``patch.feed``). The database is written first, so that a crash
between the two leaves a gap and no alarm.

A whole home that was put back, file and all, knows nothing here. It learns by
meeting its own newer records (`node.own_records`), and then calls ``begin``.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from hivelearn.files import Reached, unwatched, write_whole
from hivelearn.patch.feed import Place, draw_epoch
from hivelearn.store.database import Database

Why = Literal["first", "older database", "no file", "met itself"]

REASONS: Final[Mapping[Why, str]] = MappingProxyType(
    {
        "first": "there was none before",
        "older database": "the database is older than the record of feeds beside it",
        "no file": "the record of feeds beside the database is gone",
        "met itself": "others had newer records of it than this home",
    }
)
_PRIVATE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of an own feed."""

    swarm: bytes  # 32 bytes: see hivelearn.swarm.topics.swarm
    epoch: int
    last: int  # the newest number that may have been signed
    why: Why  # it began
    begun_s: float


@dataclass(frozen=True, slots=True)
class Fork:
    """An epoch that turned out to be two histories."""

    device: bytes
    epoch: int
    author: bytes
    agreed: int  # the last number that both have
    found_s: float


class Feeds:
    """See the module. Numbers are given inside a ``store.writing`` block."""

    def __init__(
        self,
        database: Database,
        file: Path,
        reached: Reached = unwatched,
        draw: Callable[[], int] = draw_epoch,
    ) -> None:
        """Repeat the numbers of ``database`` in ``file``; ``draw`` names new epochs."""
        self._db, self.file, self._reached, self._draw = database, file, reached, draw

    # -- own ---------------------------------------------------------------

    def claim(self, swarm: bytes, device: bytes, now_s: float) -> Place:
        """Return the next place in the own feed for ``swarm``, never returned before.

        Durable on return, so sign after it: a crash between leaves a gap, and a
        gap is nobody's fault, while one number signed twice is a fork.
        """
        with self._db.transaction() as writer:
            current, stale = self.current(swarm), self.stale(swarm)
            if current is None or stale is not None:
                current = self.begin(swarm, stale or "first", now_s)
            seq = current.last + 1
            writer.execute(
                "UPDATE own_epochs SET last = ? WHERE swarm = ? AND epoch = ?",
                (seq, swarm, current.epoch),
            )
            before = self._db.row(
                "SELECT id FROM patches WHERE device = ? AND epoch = ? AND seq = ?",
                (device, current.epoch, seq - 1),
            )
        self._keep(swarm, current.epoch, seq)
        return Place(current.epoch, seq, None if before is None else before[0])

    def begin(self, swarm: bytes, why: Why, now_s: float) -> Epoch:
        """Begin a new epoch of the own feed for ``swarm``."""
        new = Epoch(swarm, self._draw(), 0, why, now_s)
        # The file goes first: a crash between leaves an epoch in which nothing was signed.
        self._keep(swarm, new.epoch, 0)
        with self._db.transaction() as writer:
            writer.execute(
                "INSERT INTO own_epochs (swarm, epoch, last, why, begun_s) VALUES (?, ?, ?, ?, ?)",
                (swarm, new.epoch, new.last, why, now_s),
            )
        return new

    def current(self, swarm: bytes) -> Epoch | None:
        """Return the epoch in which the own feed for ``swarm`` goes on, as the database says."""
        return next((each for each in reversed(self.epochs()) if each.swarm == swarm), None)

    def epochs(self) -> tuple[Epoch, ...]:
        """Return all epochs of the own feeds, oldest first."""
        rows = self._db.rows(
            "SELECT swarm, epoch, last, why, begun_s FROM own_epochs ORDER BY number"
        )
        return tuple(Epoch(*row) for row in rows)

    def swarm_of(self, epoch: int) -> bytes | None:
        """Return the swarm for which an own epoch was begun, or None if it is none of ours."""
        return next((each.swarm for each in self.epochs() if each.epoch == epoch), None)

    def stale(self, swarm: bytes) -> Why | None:
        """Return why the database cannot know the feed's last number; None if it does."""
        current, kept = self.current(swarm), self._kept().get(swarm)
        if kept is None:
            return None if current is None else "no file"
        epoch, last = kept
        if current is None:
            return "older database" if last else None
        known = current.epoch == epoch and current.last >= last
        return None if known else "older database"

    def swarms(self) -> tuple[bytes, ...]:
        """Return the swarms for which there is a feed in the database or the file, sorted."""
        return tuple(sorted({*self._kept(), *(each.swarm for each in self.epochs())}))

    def _keep(self, swarm: bytes, epoch: int, last: int) -> None:
        """Write the file, durably."""
        kept = self._kept() | {swarm: (epoch, last)}
        plain = {key.hex(): list(value) for key, value in sorted(kept.items())}
        write_whole(self.file, json.dumps(plain).encode(), self._reached, mode=_PRIVATE)

    def _kept(self) -> dict[bytes, tuple[int, int]]:
        """Return {swarm: (epoch, last)} of the file; nothing if it is missing or damaged."""
        with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
            found = json.loads(self.file.read_bytes())
            return {bytes.fromhex(key): (int(e), int(n)) for key, (e, n) in found.items()}
        return {}

    # -- forks -------------------------------------------------------------

    def frozen(self, device: bytes, epoch: int) -> int | None:
        """Return the number behind which an epoch is frozen, or None."""
        row = self._db.row(
            "SELECT agreed FROM forks WHERE device = ? AND epoch = ?", (device, epoch)
        )
        return None if row is None else int(row[0])

    def freeze(self, fork: Fork) -> bool:
        """Take nothing of an epoch behind ``fork.agreed``; return whether it was not known yet.

        Told of an earlier number, it goes back to that. Forks of which no record is left are
        forgotten: whoever signs such a record again is new here.
        """
        with self._db.transaction() as writer:
            new = self.frozen(fork.device, fork.epoch) is None
            writer.execute(
                "INSERT INTO forks VALUES (?, ?, ?, ?, ?) ON CONFLICT DO"
                " UPDATE SET agreed = min(agreed, excluded.agreed)",
                (fork.device, fork.epoch, fork.author, fork.agreed, fork.found_s),
            )
            writer.execute(
                "DELETE FROM forks WHERE NOT EXISTS (SELECT 1 FROM patches"
                " WHERE patches.device = forks.device AND patches.epoch = forks.epoch)"
            )
        return new

    def forks(self) -> tuple[Fork, ...]:
        """Return all that is frozen, by device and epoch."""
        rows = self._db.rows(
            "SELECT device, epoch, author, agreed, found_s FROM forks ORDER BY device, epoch"
        )
        return tuple(Fork(*row) for row in rows)
