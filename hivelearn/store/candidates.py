"""Merges that were judged and wait for a person's decision."""

from dataclasses import dataclass

from hivelearn.store.database import Database


@dataclass(frozen=True, slots=True)
class Candidate:
    """A merge that was judged but not adopted yet."""

    base: bytes  # base fingerprint, 32 bytes
    domain: str
    payload: str | None  # blob name of the merged adapter, if it was kept
    detail: str  # JSON: recipe and figures
    created_s: float
    number: int = 0  # given by :meth:`Candidates.leave`


class Candidates:
    """The candidates of one home."""

    def __init__(self, database: Database) -> None:
        self._db = database

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

    def list(self, base: bytes | None = None, domain: str | None = None) -> tuple[Candidate, ...]:
        """Return the candidates that match all that is given, oldest first."""
        rows = self._db.rows(
            "SELECT base, domain, payload, detail, created_s, number FROM candidates"
            " WHERE base = ifnull(?, base) AND domain = ifnull(?, domain) ORDER BY number",
            (base, domain),
        )
        return tuple(Candidate(*row) for row in rows)

    def drop(self, number: int) -> None:
        """Delete a candidate that was adopted or given up; its blob is swept later."""
        with self._db.transaction() as writer:
            writer.execute("DELETE FROM candidates WHERE number = ?", (number,))
