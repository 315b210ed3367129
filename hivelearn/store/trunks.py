"""The trunks of each domain's rounds: which one goes on, and those it grew from.

The payloads of the last few are kept, since a part that comes late was trained onto one of
them; of older ones a line stays, which says how the rounds went.
"""

from dataclasses import astuple, dataclass, fields
from typing import Final

from hivelearn.store.database import Database

KEPT: Final = 6  # payloads of a domain; parts older than that are not taken any more


@dataclass(frozen=True, slots=True)
class Trunk:
    """One trunk of a domain."""

    base: bytes  # base fingerprint, 32 bytes
    domain: str
    id: bytes  # hivelearn.patch.descent.trunk_id
    onto: bytes  # id of the trunk before
    height: int  # the first has 1
    parts: int  # that it was made of, with all before it
    payload: str | None  # blob name; None where it is too old to be kept
    made_of: str  # JSON: its descent, for people and for late records
    loss: float | None  # on the own corrections, nats per answer token
    said: str  # digest of the corrections that the loss was measured beside
    lost: float  # share of its norm that the cut to its rank lost
    created_s: float


_COLUMNS: Final = ", ".join(field.name for field in fields(Trunk))
_MARKS: Final = ", ".join("?" * len(fields(Trunk)))


class Trunks:
    """The trunks of one home."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def current(self, base: bytes, domain: str) -> Trunk | None:
        """Return the trunk that the domain goes on from; None is the model itself."""
        rows = self._db.rows(
            f"SELECT {_COLUMNS} FROM trunks WHERE base = ? AND domain = ?"  # noqa: S608
            " ORDER BY number DESC LIMIT 1",
            (base, domain),
        )
        return Trunk(*rows[0]) if rows else None

    def get(self, base: bytes, domain: str, name: bytes) -> Trunk | None:
        """Return the trunk of this id, or None."""
        row = self._db.row(
            f"SELECT {_COLUMNS} FROM trunks WHERE base = ? AND domain = ? AND id = ?",  # noqa: S608
            (base, domain, name),
        )
        return None if row is None else Trunk(*row)

    def history(self, base: bytes, domain: str) -> tuple[Trunk, ...]:
        """Return all that the domain went on from, in that order."""
        rows = self._db.rows(
            f"SELECT {_COLUMNS} FROM trunks WHERE base = ? AND domain = ? ORDER BY number",  # noqa: S608
            (base, domain),
        )
        return tuple(Trunk(*row) for row in rows)

    def go_on_from(self, trunk: Trunk) -> list[str]:
        """Make ``trunk`` the domain's current one; its payload is stored already.

        A trunk that was left for another may be taken up again.

        Returns:
            Blob names of trunks that are too old to be kept from now on.
        """
        held = {each.payload for each in self.history(trunk.base, trunk.domain)}
        with self._db.transaction() as writer:
            writer.execute("DELETE FROM trunks WHERE base = ? AND id = ?", (trunk.base, trunk.id))
            writer.execute(
                f"INSERT INTO trunks ({_COLUMNS}) VALUES ({_MARKS})",  # noqa: S608
                astuple(trunk),
            )
            writer.execute(
                "UPDATE trunks SET payload = NULL WHERE base = ? AND domain = ? AND number NOT IN"
                " (SELECT number FROM trunks WHERE base = ? AND domain = ?"
                "  ORDER BY number DESC LIMIT ?)",
                (trunk.base, trunk.domain, trunk.base, trunk.domain, KEPT),
            )
        held -= {each.payload for each in self.history(trunk.base, trunk.domain)}
        return sorted(name for name in held if name is not None)

    def left_out(self, base: bytes, domain: str) -> set[bytes]:
        """Return the payload roots of parts that made a round worse."""
        rows = self._db.rows(
            "SELECT root FROM left_parts WHERE base = ? AND domain = ?", (base, domain)
        )
        return {root for (root,) in rows}

    def leave_out(self, base: bytes, domain: str, root: bytes, why: str) -> None:
        """Note that a part makes a round worse, so that it is not tried again."""
        with self._db.transaction() as writer:
            writer.execute(
                "INSERT OR REPLACE INTO left_parts VALUES (?, ?, ?, ?)", (base, domain, root, why)
            )
