"""What a node remembers of others and of itself: vouches, evidence, settings.

Vouches here are local: nobody else sees them unless they are published as
records of the feed. A withdrawn vouch is kept, so that the owner can see that
there once was one. How evidence decays is the trust room's arithmetic; the
figures it returns are stored as they are.
"""

import json
from dataclasses import dataclass
from typing import Any

from hivelearn.store.database import Database


@dataclass(frozen=True, slots=True)
class Vouch:
    """This node's owner knows this author."""

    author: bytes  # root key, 32 bytes
    note: str
    at_s: float
    withdrawn_s: float | None = None


@dataclass(frozen=True, slots=True)
class EvidenceCount:
    """What an author's patches were judged to be, after decay."""

    ok: float
    bad: float


class Notes:
    """The small tables of one home."""

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

    def vouches(self, *, withdrawn: bool = False) -> tuple[Vouch, ...]:
        """Return the vouches that stand (with ``withdrawn`` also the others), by author."""
        rows = self._db.rows("SELECT author, note, at_s, withdrawn_s FROM vouches ORDER BY author")
        found = (Vouch(*row) for row in rows)
        return tuple(v for v in found if withdrawn or v.withdrawn_s is None)

    def evidence(self) -> dict[bytes, EvidenceCount]:
        """Return the counts of every judged author, sorted by author."""
        rows = self._db.rows("SELECT author, ok, bad FROM evidence ORDER BY author")
        return {author: EvidenceCount(ok, bad) for author, ok, bad in rows}

    def set_evidence(self, counts: dict[bytes, EvidenceCount]) -> None:
        """Store the counts of these authors; others keep theirs."""
        with self._db.transaction() as writer:
            writer.executemany(
                "INSERT OR REPLACE INTO evidence VALUES (?, ?, ?)",
                [(author, count.ok, count.bad) for author, count in counts.items()],
            )

    def setting(self, key: str, default: Any = None) -> Any:
        """Return the JSON value stored under ``key``, or ``default``."""
        row = self._db.row("SELECT value FROM settings WHERE key = ?", (key,))
        return default if row is None else json.loads(row[0])

    def set(self, key: str, value: Any) -> None:
        """Store a JSON value under ``key``."""
        with self._db.transaction() as writer:
            writer.execute(
                "INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, json.dumps(value))
            )

    def unset(self, key: str) -> None:
        """Remove a setting; absent is fine."""
        with self._db.transaction() as writer:
            writer.execute("DELETE FROM settings WHERE key = ?", (key,))
