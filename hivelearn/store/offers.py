"""In which topic a patch may be offered: the one it was published in or heard in, no other.

A topic may be closed by a secret, and a diary may be trained and never told. So
an offer is a row that somebody wrote on purpose, never a consequence of a
domain's name. A record belongs to one feed, so to one swarm; where it is heard
again it came by a leak, and is not passed on.
"""

from collections.abc import Collection
from typing import Final

from hivelearn.store.database import Database

OFFERED: Final = ("own", "admitted", "merged", "quarantined", "sandboxed")  # states of the shelf
_HELD: Final = f"SELECT id FROM patches WHERE state IN ({', '.join('?' * len(OFFERED))})"  # noqa: S608


class Offers:
    """Patches and topics of one home, as pairs."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, patch: bytes, topic: bytes) -> None:
        """Offer ``patch`` in ``topic`` (32 bytes each) from now on, unless it is of another."""
        with self._db.transaction() as writer:
            writer.execute(
                "INSERT INTO offers SELECT :topic, :patch"
                " WHERE NOT EXISTS (SELECT 1 FROM offers WHERE patch = :patch)",
                {"topic": topic, "patch": patch},
            )

    def replace(self, old: bytes, new: bytes) -> None:
        """Offer ``new`` where ``old`` was offered, and ``old`` nowhere."""
        with self._db.transaction() as writer:
            writer.execute("UPDATE offers SET patch = ? WHERE patch = ?", (new, old))

    def topic_of(self, patch: bytes) -> bytes | None:
        """Return the one topic in which ``patch`` is offered, or None."""
        row = self._db.row("SELECT topic FROM offers WHERE patch = ?", (patch,))
        return None if row is None else row[0]

    def heads(self, topic: bytes) -> list[bytes]:
        """Return the ids of all that is here and offered in ``topic``, sorted."""
        rows = self._db.rows(
            f"SELECT patch FROM offers WHERE topic = ? AND patch IN ({_HELD}) ORDER BY patch",  # noqa: S608
            (topic, *OFFERED),
        )
        return [patch for (patch,) in rows]

    def anywhere(self, patch: bytes) -> bool:
        """Return whether ``patch`` was ever offered."""
        return self._db.row("SELECT 1 FROM offers WHERE patch = ?", (patch,)) is not None

    def has(self, patch: bytes, topics: Collection[bytes]) -> bool:
        """Return whether ``patch`` is here and offered in one of ``topics``."""
        rows = self._db.rows(
            f"SELECT topic FROM offers WHERE patch = ? AND patch IN ({_HELD})",  # noqa: S608
            (patch, *OFFERED),
        )
        return any(topic in topics for (topic,) in rows)
