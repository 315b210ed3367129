"""What a home notes beside its patches and corrections, so that no work is done twice.

Whose turn it was, what its owner took back, what a model cannot read, what the
last training learnt from. Each is a row of its own; the judgement behind it is
the node's.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from hivelearn.store.database import Database


@dataclass(frozen=True, slots=True)
class Turn:
    """When a stranger's patch was measured last."""

    state: str  # name of all that its verdict depended on
    number: int  # turns of one domain count up


class Marks:
    """The notes of one home."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def turns(self, domain: str) -> dict[bytes, Turn]:
        """Return the last turn of each patch of ``domain`` that rests in the sandbox."""
        rows = self._db.rows(
            "SELECT patch, state, number FROM turns WHERE domain = ? ORDER BY patch", (domain,)
        )
        return {patch: Turn(state, number) for patch, state, number in rows}

    def take_turn(self, domain: str, state: str, patches: Collection[bytes]) -> None:
        """Note that these patches were measured in ``state``; forget those that wait no more."""
        with self._db.transaction() as writer:
            (last,) = writer.execute(
                "SELECT ifnull(max(number), 0) FROM turns WHERE domain = ?", (domain,)
            ).fetchone()
            writer.executemany(
                "INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?)",
                [(patch, domain, state, last + 1) for patch in patches],
            )
            writer.execute(
                "DELETE FROM turns WHERE domain = ? AND patch NOT IN"
                " (SELECT id FROM patches WHERE state = 'sandboxed')",
                (domain,),
            )

    def taken_back(self, base: bytes, domain: str) -> set[bytes]:
        """Return the patches that :meth:`take_back` noted and :meth:`give_back` did not free."""
        rows = self._db.rows(
            "SELECT patch FROM taken_back WHERE base = ? AND domain = ?", (base, domain)
        )
        return {patch for (patch,) in rows}

    def take_back(self, base: bytes, domain: str, patches: Iterable[bytes]) -> None:
        """Note that the owner took these patches out of service."""
        with self._db.transaction() as writer:
            writer.executemany(
                "INSERT OR IGNORE INTO taken_back VALUES (?, ?, ?)",
                [(base, domain, patch) for patch in patches],
            )

    def give_back(self, base: bytes, domain: str) -> None:
        """Forget what was taken back in ``domain``."""
        with self._db.transaction() as writer:
            writer.execute("DELETE FROM taken_back WHERE base = ? AND domain = ?", (base, domain))

    def left_out(self, base: bytes) -> dict[str, str]:
        """Return the corrections (id -> why) that the model ``base`` cannot read."""
        rows = self._db.rows(
            "SELECT correction, why FROM left_out WHERE base = ? ORDER BY correction", (base,)
        )
        return dict(rows)

    def leave_out(self, base: bytes, found: Mapping[str, str]) -> None:
        """Note corrections (id -> why) that the model ``base`` cannot read."""
        with self._db.transaction() as writer:
            writer.executemany(
                "INSERT OR REPLACE INTO left_out VALUES (?, ?, ?)",
                [(base, correction, why) for correction, why in found.items()],
            )

    def learnt(self, base: bytes, domain: str) -> str | None:
        """Return the digest of what the domain's last whole training learnt from, or None."""
        row = self._db.row(
            "SELECT digest FROM learnt WHERE base = ? AND domain = ?", (base, domain)
        )
        return None if row is None else str(row[0])

    def set_learnt(self, base: bytes, domain: str, digest: str) -> None:
        """Note what the domain's last whole training learnt from."""
        with self._db.transaction() as writer:
            writer.execute("INSERT OR REPLACE INTO learnt VALUES (?, ?, ?)", (base, domain, digest))
