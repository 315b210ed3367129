"""What waits to go on: the last checkpoint of a training, candidates of a merge.

A checkpoint is a blob and one row that points to it. The row moves to the new
blob in one transaction and the old blob is deleted after it, so at any moment
one whole checkpoint can be resumed, and a night of them fills no disk.
"""

import hashlib
from dataclasses import dataclass

from hivelearn.store.blobs import Blobs
from hivelearn.store.database import Database
from hivelearn.store.errors import DamagedBlobError
from hivelearn.store.schema import NEEDED_BLOBS


@dataclass(frozen=True, slots=True)
class Candidate:
    """A merge that was judged but not adopted yet."""

    base: bytes  # base fingerprint, 32 bytes
    domain: str
    payload: str | None  # blob name of the merged adapter, if it was kept
    detail: str  # JSON: recipe and figures
    created_s: float
    number: int = 0  # given by :meth:`Checkpoints.leave`


class Checkpoints:
    """Checkpoints and candidates of one home."""

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

    def leave(self, candidate: Candidate) -> int:
        """Keep a candidate for a later decision; return its number."""
        c = candidate
        with self._db.transaction() as writer:
            done = writer.execute(
                "INSERT INTO candidates (base, domain, payload, detail, created_s)"
                " VALUES (?, ?, ?, ?, ?)",
                (c.base, c.domain, c.payload, c.detail, c.created_s),
            )
            assert done.lastrowid is not None
            return done.lastrowid

    def candidates(self, base: bytes, domain: str) -> tuple[Candidate, ...]:
        """Return the candidates of a domain, oldest first."""
        rows = self._db.rows(
            "SELECT base, domain, payload, detail, created_s, number FROM candidates"
            " WHERE base = ? AND domain = ? ORDER BY number",
            (base, domain),
        )
        return tuple(Candidate(*row) for row in rows)

    def drop(self, number: int) -> None:
        """Delete a candidate that was adopted or given up; its blob is swept later."""
        with self._db.transaction() as writer:
            writer.execute("DELETE FROM candidates WHERE number = ?", (number,))

    def _drop(self, name: str | None) -> None:
        """Delete a blob unless some row, perhaps one saved just now, needs it."""
        if name is not None and (name,) not in self._db.rows(NEEDED_BLOBS):
            self._blobs.delete(name)
