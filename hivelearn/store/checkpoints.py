"""Trainings that wait to go on: the last checkpoint of each.

A checkpoint is a blob and one row that points to it. The row moves to the new
blob in one transaction and the old blob is deleted after it, so at any moment
one whole checkpoint can be resumed, and a night of them fills no disk.
"""

import hashlib

from hivelearn.store.blobs import Blobs
from hivelearn.store.database import Database
from hivelearn.store.errors import DamagedBlobError
from hivelearn.store.schema import NEEDED_BLOBS


class Checkpoints:
    """The checkpoints of one home."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._db, self._blobs = database, blobs

    def save(self, base: bytes, domain: str, data: bytes, saved_s: float) -> str:
        """Make ``data`` the checkpoint of this domain's training; return its blob name."""
        name = self._blobs.put(data)
        old = self.checkpoint(base, domain)
        with self._db.transaction() as writer:
            writer.execute(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?)",
                (base, domain, name, saved_s),
            )
        self._drop(old)
        return name

    def checkpoint(self, base: bytes, domain: str) -> str | None:
        """Return the blob name of the domain's checkpoint, or None."""
        row = self._db.row(
            "SELECT payload FROM checkpoints WHERE base = ? AND domain = ?", (base, domain)
        )
        return None if row is None else str(row[0])

    def load(self, base: bytes, domain: str) -> bytes | None:
        """Return the bytes given to :meth:`save` last, or None.

        Raises:
            MissingBlobError, DamagedBlobError: this disk has lost them.
        """
        name = self.checkpoint(base, domain)
        if name is None:
            return None
        data = self._blobs.read(name)
        if hashlib.sha256(data).hexdigest() != name:
            raise DamagedBlobError(self._blobs.path(name), "the disk has changed this checkpoint")
        return data

    def clear(self, base: bytes, domain: str) -> None:
        """Forget the checkpoint: the training is done, or given up."""
        old = self.checkpoint(base, domain)
        with self._db.transaction() as writer:
            writer.execute("DELETE FROM checkpoints WHERE base = ? AND domain = ?", (base, domain))
        self._drop(old)

    def paused(self) -> tuple[tuple[bytes, str, float], ...]:
        """Return (base, domain, saved_s) of every training that can go on."""
        rows = self._db.rows("SELECT base, domain, saved_s FROM checkpoints ORDER BY base, domain")
        return tuple((base, domain, saved_s) for base, domain, saved_s in rows)

    def _drop(self, name: str | None) -> None:
        """Delete a blob unless some row, perhaps one saved just now, needs it."""
        if name is not None and (name,) not in self._db.rows(NEEDED_BLOBS):
            self._blobs.delete(name)
