"""A file of corrections, of ours or of another tool, taken in whole or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hivelearn.store.correction import Correction, from_plain
from hivelearn.store.errors import CorrectionError, ImportLineError
from hivelearn.store.import_rows import Row, read_rows, unreadable
from hivelearn.store.import_shapes import WANTED, corrected

REFUSED_MAX: Final = 1_000  # after so many, nobody needs the rest counted


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a row that does not say gets."""

    base: bytes  # fingerprint of this node's model
    created_s: float
    domain: str | None = None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file holds."""

    corrections: tuple[Correction, ...]
    passed_over: tuple[str, ...]  # fields of other tools that mean nothing here


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import took in."""

    rows: int
    new: int  # corrections that were not said before
    passed_over: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        """Return one line."""
        said = f"{self.new} new correction{'' if self.new == 1 else 's'}"
        if before := self.rows - self.new:
            said += f", {before} said before"
        if self.passed_over:
            said += f"; passed over: {', '.join(map(repr, self.passed_over))}"
        return said


def read_corrections(path: Path, defaults: Defaults) -> Imported:
    """Return the corrections of a file.

    Rows without a time get ascending ones, so that a later row about the same question wins.

    Raises:
        ImportLineError: the first row that cannot be taken, why, and how many more.
        CorrectionError: the file is of no kind that is read here.
    """
    rows = read_rows(path)
    found: list[Correction] = []
    passed_over: set[str] = set()
    refused: list[tuple[int, str]] = []
    try:
        for row in rows.each:
            try:
                correction, besides = _correction(row, defaults)
            except CorrectionError as error:
                refused.append((row.number, error.what))
                if len(refused) == REFUSED_MAX:
                    break
            else:
                found.append(correction)
                passed_over |= besides
    except OSError as error:
        raise unreadable(path, error) from None
    if refused:
        number, why = refused[0]
        raise ImportLineError(path, number, why, WANTED, unit=rows.unit, more=len(refused) - 1)
    return Imported(tuple(found), tuple(sorted(passed_over)))


def _correction(row: Row, defaults: Defaults) -> tuple[Correction, frozenset[str]]:
    if row.fields is None:
        raise CorrectionError(row.why)
    said, besides = corrected(row.fields)
    plain: Mapping[str, Any] = {
        "base": defaults.base.hex(),
        "generation": defaults.generation,
        "created_s": round(defaults.created_s + row.number * 1e-6, 6),
        "domain": defaults.domain,
        **said,
    }
    if plain["domain"] is None:
        raise CorrectionError("no domain: give one for all, or a field 'domain'")
    return from_plain(plain), besides
