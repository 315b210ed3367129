"""In which topics a patch may be offered: those it was published in or heard in, no other.

A topic may be closed by a secret, and a diary may be trained and never told. So
an offer is a row that somebody wrote on purpose, never a consequence of a
domain's name.
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
        """Offer ``patch`` in ``topic`` (32 bytes each) from now on."""
        with self._db.transaction() as writer:
            writer.execute("INSERT OR IGNORE INTO offers VALUES (?, ?)", (topic, patch))

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
