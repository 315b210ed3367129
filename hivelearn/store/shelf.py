"""Patches and where each stands: the envelope's bytes, a state, the last verdict.

The shelf judges nothing. It holds the table of moves that make sense and remembers
refusals so that nothing is fetched twice. Of feeds it knows what lies around a
number; what follows from that, ``feeds`` and ``patch.feed`` say.
"""

import sqlite3
from collections.abc import Collection
from dataclasses import astuple, dataclass, fields
from types import MappingProxyType
from typing import Final, Literal, get_args

from hivelearn.errors import PeerError
from hivelearn.patch.feed import Neighbours
from hivelearn.store.correction import DOMAIN
from hivelearn.store.database import Database
from hivelearn.store.errors import UnknownPatchError, WrongStateError
from hivelearn.store.schema import NEEDED_BLOBS

State = Literal["quarantined", "sandboxed", "admitted", "refused", "own", "merged"]

STATES: Final[tuple[State, ...]] = get_args(State)
# To its own state a patch may always go: a new verdict in the old place.
MOVES: Final = MappingProxyType(
    {
        "quarantined": {"sandboxed", "admitted", "merged", "refused"},
        "sandboxed": {"admitted", "merged", "refused"},
        # Back to quarantine: its domain has become our own and is judged anew.
        "admitted": {"quarantined", "sandboxed", "merged", "refused"},
        "merged": {"sandboxed", "admitted", "refused"},
        "refused": set[str](),
        "own": set[str](),
    }
)
WITHOUT_PAYLOAD: Final = {"refused"}
WAITING: Final[tuple[State, ...]] = ("quarantined", "sandboxed")  # none of it serves
REFUSED_MAX: Final = 1_024  # strangers' refusals remembered, so that none is fetched again
ID_BYTES: Final = 32
ENVELOPE_MAX_BYTES: Final = 64 * 1024
NUMBER_MAX: Final = 2**63 - 1  # SQLite integers are signed


class ShelfEntryError(PeerError):
    """A verified record that does not fit the shelf's limits."""

    code = "shelf.limits"
    fault = "author"


@dataclass(frozen=True, slots=True)
class Entry:
    """One patch on the shelf."""

    id: bytes  # PatchId, 32 bytes
    author: bytes  # root key, 32 bytes
    device: bytes  # device key, 32 bytes
    epoch: int
    seq: int
    domain: str
    base: bytes  # base fingerprint, 32 bytes
    envelope: bytes  # as received: signatures cover these bytes
    payload: str | None  # blob name; None if it was refused before it was here
    state: State
    arrived_s: float
    verdict: str | None = None  # JSON: layer, code, measured, limit, fault
    reason: str = ""
    prev: bytes | None = None  # id of number seq - 1, as its author says
    relay: bytes | None = None  # device key of the peer that told of it first, if noted
    onto: bytes | None = None  # id of the trunk that it builds on; None: it stands alone

    def __post_init__(self) -> None:
        keys = (self.id, self.author, self.device, self.base)
        _require(all(type(k) is bytes and len(k) == ID_BYTES for k in keys), "an id of 32 bytes")
        numbers = (self.epoch, self.seq)
        _require(
            all(type(n) is int and 0 <= n <= NUMBER_MAX for n in numbers), "epoch, seq below 2^63"
        )
        _require(DOMAIN.fullmatch(self.domain) is not None, "a domain name")
        _require(0 < len(self.envelope) <= ENVELOPE_MAX_BYTES, "an envelope of at most 64 KiB")
        _require(self.state in STATES, "a known state")
        _require(
            self.payload is not None or self.state in WITHOUT_PAYLOAD, f"a payload if {self.state}"
        )


_COLUMNS: Final = ", ".join(field.name for field in fields(Entry))
_MARKS: Final = ", ".join("?" * len(fields(Entry)))


class Shelf:
    """The patches of one home. Lists are sorted by patch id: sums depend on order."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, entry: Entry) -> bool:
        """Put a verified record on the shelf; return False if its id is here already."""
        with self._db.transaction() as writer:
            if self.get(entry.id) is not None:
                return False
            _insert(writer, entry)
            return True

    def get(self, patch: bytes) -> Entry | None:
        """Return the entry of this id, or None."""
        row = self._db.row(f"SELECT {_COLUMNS} FROM patches WHERE id = ?", (patch,))  # noqa: S608
        return None if row is None else Entry(*row)

    def wants(self, patch: bytes) -> bool:
        """Return whether its payload should be fetched: it is new here."""
        return self.get(patch) is None

    def list(
        self,
        *,
        state: State | None = None,
        domain: str | None = None,
        base: bytes | None = None,
        author: bytes | None = None,
    ) -> tuple[Entry, ...]:
        """Return the entries that match all that is given, sorted by id."""
        rows = self._db.rows(
            f"SELECT {_COLUMNS} FROM patches WHERE state = ifnull(?, state)"  # noqa: S608
            " AND domain = ifnull(?, domain) AND base = ifnull(?, base)"
            " AND author = ifnull(?, author) ORDER BY id",
            (state, domain, base, author),
        )
        return tuple(Entry(*row) for row in rows)

    def retire(self, patch: bytes, reason: str) -> None:
        """Take a record of a round that is over out of the way; an own one is forgotten.

        Others' stay as refused, so that none is fetched again. Payloads are swept later.
        """
        with self._db.transaction() as writer:
            writer.execute("DELETE FROM offers WHERE patch = ?", (patch,))
            writer.execute("DELETE FROM patches WHERE id = ? AND state = 'own'", (patch,))
            writer.execute(
                "UPDATE patches SET state = 'refused', reason = ? WHERE id = ?", (reason, patch)
            )

    def by_arrival(self) -> tuple[Entry, ...]:
        """Return all whose payload is here and that were not refused, in order of arrival."""
        rows = self._db.rows(
            f"SELECT {_COLUMNS} FROM patches WHERE payload IS NOT NULL"  # noqa: S608
            " AND state != 'refused' ORDER BY arrived_s, rowid"
        )
        return tuple(Entry(*row) for row in rows)

    def devices(self) -> dict[bytes, bytes]:
        """Return whose each device key is that signed something here."""
        return dict(self._db.rows("SELECT DISTINCT device, author FROM patches ORDER BY device"))

    def ids(self) -> set[bytes]:
        """Return the ids of all that is here, in whatever state."""
        return {patch for (patch,) in self._db.rows("SELECT id FROM patches")}

    def counts(self) -> dict[State, int]:
        """Return how many patches are in each state, absent states left out.

        Of the own ones, what was signed again for a swarm is the same patch.
        """
        same = "CASE state WHEN 'own' THEN domain || payload ELSE id END"
        return dict(
            self._db.rows(f"SELECT state, COUNT(DISTINCT {same}) FROM patches GROUP BY state")  # noqa: S608
        )

    def move(
        self,
        patch: bytes,
        state: State,
        *,
        verdict: str | None = None,
        reason: str = "",
    ) -> Entry:
        """Send a patch to another state, or give it a new verdict where it is.

        Args:
            patch: its id.
            state: where to; see ``MOVES``.
            verdict: JSON of the judgement behind the move; None keeps the last one.
            reason: one sentence for people.

        Raises:
            UnknownPatchError: not on the shelf.
            WrongStateError: the table of moves does not allow it.
        """
        with self._db.transaction() as writer:
            entry = self.get(patch)
            if entry is None:
                raise UnknownPatchError(f"patch {patch.hex()} is not on the shelf")
            if state != entry.state and state not in MOVES[entry.state]:
                raise WrongStateError(f"patch {patch.hex()} is {entry.state}, not to be {state}")
            _update(writer, patch, state, verdict or entry.verdict, reason)
            moved = self.get(patch)
            assert moved is not None
            return moved

    def forget_refused(self, keep: int, spared: Collection[bytes]) -> int:
        """Delete the oldest refused records beyond the newest ``keep``; return how many.

        Args:
            keep: how many stay.
            spared: authors whose records all stay, and are not counted.

        What any generation ever served stays: a rollback must not bring it back unrefused.
        """
        rows = self._db.rows(
            "SELECT id, author FROM patches WHERE state = 'refused' AND id NOT IN"
            " (SELECT patch FROM served WHERE patch IS NOT NULL)"
            " ORDER BY arrived_s DESC, rowid DESC"
        )
        gone = [(patch,) for patch, author in rows if author not in spared][keep:]
        if gone:
            with self._db.transaction() as writer:
                writer.executemany("DELETE FROM offers WHERE patch = ?", gone)
                writer.executemany("DELETE FROM patches WHERE id = ?", gone)
        return len(gone)

    def readmit(self, author: bytes, reason: str) -> None:
        """Forget what was refused of ``author`` for this reason: it may come again."""
        with self._db.transaction() as writer:
            writer.execute(
                "DELETE FROM patches WHERE author = ? AND state = 'refused' AND reason = ?",
                (author, reason),
            )

    def needs_blob(self, name: str) -> bool:
        """Return whether any row still needs the blob ``name``."""
        found = f"SELECT 1 FROM ({NEEDED_BLOBS}) WHERE payload = ? LIMIT 1"  # noqa: S608
        return self._db.row(found, (name,)) is not None

    def around(self, device: bytes, epoch: int, seq: int) -> Neighbours:
        """Return what lies here around a number of a device's epoch (the oldest, of twins)."""

        def first(what: str, number: int) -> bytes | None:
            found = self._db.row(
                f"SELECT {what} FROM patches WHERE device = ? AND epoch = ? AND seq = ?"  # noqa: S608
                " ORDER BY rowid",
                (device, epoch, number),
            )
            return None if found is None else found[0]

        return Neighbours(first("id", seq - 1), first("id", seq), first("prev", seq + 1))


def _insert(writer: sqlite3.Connection, entry: Entry) -> None:
    writer.execute(
        f"INSERT INTO patches ({_COLUMNS}) VALUES ({_MARKS})",  # noqa: S608
        astuple(entry),
    )


def _update(
    writer: sqlite3.Connection,
    patch: bytes,
    state: State,
    verdict: str | None,
    reason: str,
) -> None:
    writer.execute(
        "UPDATE patches SET state = ?, verdict = ?, reason = ? WHERE id = ?",
        (state, verdict, reason, patch),
    )


def _require(holds: bool, what: str) -> None:  # noqa: FBT001
    if not holds:
        raise ShelfEntryError(f"a shelf entry needs {what}")
