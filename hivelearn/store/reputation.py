"""What a home remembers of authors: vouches, standings, verdicts heard, faults at the door.

Plain columns, one row an author or a patch. What they mean and how they change is
the trust room's arithmetic; this file knows none of it.

Vouches here are local: nobody else sees them unless they are published as
records of the feed. A withdrawn vouch is kept, so that its owner can see that
there once was one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass

from hivelearn.store.database import Database


@dataclass(frozen=True, slots=True)
class VouchRecord:
    """This node's owner knows this author, or once did."""

    author: bytes  # root key, 32 bytes
    note: str
    at_s: float
    withdrawn_s: float | None = None


@dataclass(frozen=True, slots=True)
class StandingRecord:
    """The figures of one author; see :class:`hivelearn.trust.standing.Standing`."""

    author: bytes  # root key, 32 bytes
    good: float
    bad: float
    successes: int
    harms: int


class Reputation:
    """The tables about authors of one home."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def vouch(self, author: bytes, note: str, at_s: float) -> None:
        """Vouch for an author, again if the vouch was withdrawn."""
        with self._db.transaction() as writer:
            writer.execute(
                "INSERT OR REPLACE INTO vouches VALUES (?, ?, ?, NULL)", (author, note, at_s)
            )

    def withdraw(self, author: bytes, at_s: float) -> bool:
        """Withdraw a vouch; return whether one stood."""
        with self._db.transaction() as writer:
            done = writer.execute(
                "UPDATE vouches SET withdrawn_s = ? WHERE author = ? AND withdrawn_s IS NULL",
                (at_s, author),
            )
            return done.rowcount > 0

    def vouches(self, *, withdrawn: bool = False) -> tuple[VouchRecord, ...]:
        """Return the vouches that stand (with ``withdrawn`` also the others), by author."""
        rows = self._db.rows("SELECT author, note, at_s, withdrawn_s FROM vouches ORDER BY author")
        found = (VouchRecord(*row) for row in rows)
        return tuple(v for v in found if withdrawn or v.withdrawn_s is None)

    def standings(self) -> tuple[StandingRecord, ...]:
        """Return the figures of every author on record, by author."""
        rows = self._db.rows(
            "SELECT author, good, bad, successes, harms FROM standings ORDER BY author"
        )
        return tuple(StandingRecord(*row) for row in rows)

    def set_standings(self, records: Iterable[StandingRecord]) -> None:
        """Store the figures of these authors; all others keep theirs."""
        with self._db.transaction() as writer:
            writer.executemany(
                "INSERT OR REPLACE INTO standings VALUES (?, ?, ?, ?, ?)", map(astuple, records)
            )

    def drop_standings(self, authors: Iterable[bytes]) -> None:
        """Forget the figures of these authors."""
        with self._db.transaction() as writer:
            writer.executemany("DELETE FROM standings WHERE author = ?", [(a,) for a in authors])

    def heard(self) -> dict[bytes, str]:
        """Return the judgement that counted last, by patch."""
        return dict(self._db.rows("SELECT patch, judgement FROM heard ORDER BY patch"))

    def hear(self, judgements: Mapping[bytes, str]) -> None:
        """Remember what was judged of patches; of those that left the shelf, nothing."""
        with self._db.transaction() as writer:
            writer.executemany("INSERT OR REPLACE INTO heard VALUES (?, ?)", judgements.items())
            writer.execute("DELETE FROM heard WHERE patch NOT IN (SELECT id FROM patches)")

    def faults(self) -> tuple[tuple[bytes, str], ...]:
        """Return author and domain of every fault at the door that no merge has heard of yet.

        Oldest first; a fault that is committed again is young again.
        """
        rows = self._db.rows("SELECT author, domain FROM faults ORDER BY number")
        return tuple((author, domain) for author, domain in rows)

    def add_fault(self, author: bytes, domain: str) -> None:
        """Remember a fault of ``author`` in ``domain``; told again, it is the newest."""
        with self._db.transaction() as writer:
            writer.execute(
                "INSERT OR REPLACE INTO faults (author, domain) VALUES (?, ?)", (author, domain)
            )

    def drop_faults(self, faults: Iterable[tuple[bytes, str]]) -> None:
        """Forget these faults, each an author and a domain."""
        with self._db.transaction() as writer:
            writer.executemany("DELETE FROM faults WHERE author = ? AND domain = ?", faults)
