"""What serves a domain, as a log that only grows.

A generation is the whole serving state. Training, merging and admitting each
commit one. A rollback appends one more, equal to the state before the latest
commit that is not yet undone; a second rollback undoes the commit before that
one, so rolling back walks backwards and never swings to and fro.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from hivelearn.store.database import Database, Row
from hivelearn.store.errors import NothingToRollBackError, StaleGenerationError

NEXT: Final = 0  # as a generation's number: "whatever comes next"


@dataclass(frozen=True, slots=True)
class Served:
    """One adapter that answers: the specialist, or an expert to route to."""

    patch: bytes | None  # PatchId; None for a merge that was never published
    payload: str  # blob name
    author: bytes  # root key, 32 bytes
    median: float | None = None  # prompt loss on its own holdout, nats per token
    ceiling: float | None = None  # above this loss a prompt is not its business; None: no card
    floor: float | None = None  # nor where the base is surprised by less than so much more


@dataclass(frozen=True, slots=True, repr=False)
class Generation:
    """A domain's whole serving state on one base."""

    base: bytes  # base fingerprint, 32 bytes
    domain: str
    specialist: Served | None
    experts: tuple[Served, ...]
    why: str
    created_s: float
    number: int = NEXT
    report: str = "{}"  # JSON: which patches it took in
    undoes: int | None = None  # set by rollback: the number of the commit taken back

    def __post_init__(self) -> None:
        # Sorted: two nodes with equal experts must route equally.
        order = sorted(self.experts, key=lambda e: (e.patch or b"", e.payload))
        object.__setattr__(self, "experts", tuple(order))

    def __str__(self) -> str:
        """Return one line: its number, what serves, and why."""
        return f"{self.domain}: generation {self.number}, {self.serves}. {self.why}"

    __repr__ = __str__  # what a notebook or a shell shows is for people

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    @property
    def serves(self) -> str:
        """Who answers, in words."""
        parts = ["own specialist"] if self.specialist else []
        if count := len(self.experts):
            parts.append(f"{count} expert{'s' if count > 1 else ''}")
        return " and ".join(parts) or "base model"


class Generations:
    """The log of one home."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def current(self, base: bytes, domain: str) -> Generation | None:
        """Return what serves the domain now, or None: the base model alone."""
        history = self.history(base, domain)
        return history[-1] if history else None

    def serving(self, base: bytes) -> tuple[Generation, ...]:
        """Return the current generation of every domain of a base, sorted by domain."""
        history = self._read("base = ?", (base,))
        return tuple(list(group)[-1] for _, group in groupby(history, lambda g: g.domain))

    def bases(self) -> tuple[bytes, ...]:
        """Return the bases on which any domain has a generation, sorted."""
        rows = self._db.rows("SELECT DISTINCT base FROM generations ORDER BY base")
        return tuple(base for (base,) in rows)

    def history(self, base: bytes, domain: str) -> tuple[Generation, ...]:
        """Return all generations of a domain, oldest first."""
        return self._read("base = ? AND domain = ?", (base, domain))

    def commit(self, generation: Generation) -> int:
        """Append a generation and return its number.

        Raises:
            StaleGenerationError: its number is given (not ``NEXT``) and taken: somebody
                committed since it was judged.
        """
        with self._db.transaction():
            number = len(self.history(generation.base, generation.domain)) + 1
            if generation.number not in (NEXT, number):
                raise StaleGenerationError(
                    f"{generation.domain}: generation {generation.number} was judged, "
                    f"but the next is {number}"
                )
            self._append(replace(generation, number=number, undoes=None))
            return number

    def rollback(self, base: bytes, domain: str, created_s: float) -> Generation:
        """Append the state before the latest commit that is not yet undone.

        Returns:
            The new generation; ``undoes`` says which commit it took back.

        Raises:
            NothingToRollBackError: no such commit.
        """
        with self._db.transaction():
            history = self.history(base, domain)
            standing = undoable(history)
            if not standing:
                raise NothingToRollBackError(f"{domain}: nothing to roll back")
            *before, undone = standing
            empty = Generation(base, domain, None, (), "", created_s)
            restored = replace(
                history[before[-1] - 1] if before else empty,
                number=len(history) + 1,
                why=f"rollback of generation {undone}",
                created_s=created_s,
                undoes=undone,
            )
            self._append(restored)
            return restored

    def _append(self, generation: Generation) -> None:
        key = (generation.base, generation.domain, generation.number)
        with self._db.transaction() as writer:
            writer.execute(
                "INSERT INTO generations VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*key, generation.why, generation.report, generation.created_s, generation.undoes),
            )
            slots = list(enumerate(generation.experts, start=1))
            if generation.specialist is not None:
                slots.append((0, generation.specialist))
            writer.executemany(
                "INSERT INTO served VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (*key, slot, s.patch, s.payload, s.author, s.median, s.ceiling, s.floor)
                    for slot, s in slots
                ],
            )

    def _read(self, where: str, args: Sequence[object]) -> tuple[Generation, ...]:
        rows = self._db.rows(
            "SELECT base, domain, number, why, created_s, report, undoes,"  # noqa: S608
            " slot, patch, payload, author, median, ceiling, floor"
            f" FROM generations LEFT JOIN served USING (base, domain, number) WHERE {where}"
            " ORDER BY base, domain, number, slot",
            args,
        )
        return tuple(
            _generation(head, list(group)) for head, group in groupby(rows, lambda row: row[:7])
        )


def undoable(history: Sequence[Generation]) -> list[int]:
    """Return the numbers of the commits that stand, oldest first."""
    standing: list[int] = []
    for generation in history:
        if generation.undoes is None:
            standing.append(generation.number)
        else:
            standing.pop()  # always the one it undoes: rollback appends under the writer lock
    return standing


def _generation(head: Row, rows: list[Row]) -> Generation:
    base, domain, number, why, created_s, report, undoes = head
    served = {row[7]: Served(*row[8:]) for row in rows if row[7] is not None}
    specialist = served.pop(0, None)
    experts = tuple(served.values())
    return Generation(base, domain, specialist, experts, why, created_s, number, report, undoes)
