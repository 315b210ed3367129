"""What a home remembers of authors: vouches, evidence, blame, faults at the door.

What speaks for an author is bound to the updates that are here, a row each; it goes with
them. What speaks against an author is bound to the key. What the columns mean and how
they change is the trust room's arithmetic; this file knows none of it.

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
class BlameRecord:
    """What speaks against one author; see :class:`hivelearn.trust.standing.Standing`."""

    author: bytes  # root key, 32 bytes
    bad: float
    harms: int


@dataclass(frozen=True, slots=True)
class EvidenceRecord:
    """What was judged of one patch on the shelf."""

    patch: bytes  # PatchId, 32 bytes
    author: bytes  # root key, 32 bytes
    domain: str
    judgement: str  # success, copy, void, failure, harm
    worth: float  # of a success: 1.0 when it was judged, less with every round
    compared: bool  # with what was here before it, so that it is known to be no copy


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

    def blame(self) -> tuple[BlameRecord, ...]:
        """Return what speaks against every author on record, by author."""
        rows = self._db.rows("SELECT author, bad, harms FROM blame ORDER BY author")
        return tuple(BlameRecord(*row) for row in rows)

    def set_blame(self, records: Iterable[BlameRecord]) -> None:
        """Store what speaks against these authors; all others keep theirs."""
        with self._db.transaction() as writer:
            writer.executemany(
                "INSERT OR REPLACE INTO blame VALUES (?, ?, ?)", map(astuple, records)
            )

    def drop_blame(self, authors: Iterable[bytes]) -> None:
        """Forget what spoke against these authors."""
        with self._db.transaction() as writer:
            writer.executemany("DELETE FROM blame WHERE author = ?", [(a,) for a in authors])

    def evidence(self) -> tuple[EvidenceRecord, ...]:
        """Return what was judged of every patch that is here with its payload, by patch."""
        rows = self._db.rows(
            "SELECT patch, author, domain, judgement, worth, compared FROM evidence"
            " JOIN patches ON id = patch WHERE state != 'refused' ORDER BY patch"
        )
        return tuple(
            EvidenceRecord(patch, author, domain, judgement, worth, bool(compared))
            for patch, author, domain, judgement, worth, compared in rows
        )

    def heard(self) -> dict[bytes, str]:
        """Return the judgement that stands, by patch; of those that were refused, too."""
        return dict(self._db.rows("SELECT patch, judgement FROM evidence ORDER BY patch"))

    def hear(self, judgements: Mapping[bytes, str]) -> None:
        """Remember what was judged of patches; of those that left the shelf, nothing."""
        rows = [(p, said, float(said == "success")) for p, said in judgements.items()]
        with self._db.transaction() as writer:
            writer.executemany("INSERT OR REPLACE INTO evidence VALUES (?, ?, ?, 0)", rows)
            writer.execute("DELETE FROM evidence WHERE patch NOT IN (SELECT id FROM patches)")

    def fade(self, share: float, patches: Iterable[bytes]) -> None:
        """Leave this share of what these patches are worth."""
        with self._db.transaction() as writer:
            writer.executemany(
                "UPDATE evidence SET worth = worth * ? WHERE patch = ?",
                [(share, patch) for patch in patches],
            )

    def amend(self, found: Mapping[bytes, str]) -> None:
        """Let these judgements stand instead: what a comparison or a harm has made of them."""
        with self._db.transaction() as writer:
            writer.executemany(
                "UPDATE evidence SET judgement = ?, compared = 1 WHERE patch = ?",
                [(said, patch) for patch, said in found.items()],
            )

    def doubt(self, patches: Iterable[bytes]) -> None:
        """Let these patches count for nothing until they have been compared again."""
        with self._db.transaction() as writer:
            writer.executemany(
                "UPDATE evidence SET compared = 0 WHERE patch = ?", [(p,) for p in patches]
            )

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
