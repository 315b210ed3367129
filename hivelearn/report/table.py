"""Rows of plain values as a table for a terminal or a page.

A table is a frozen value: it prints as text and shows itself in Jupyter. Text
is aligned by what the eye sees, so a wide character counts two; in HTML every
cell is escaped, because names and domains come from other people's machines.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from hivelearn.errors import UsageError
from hivelearn.printable import printable
from hivelearn.report.interval import UNMEASURED_TEXT, number_text

Cell = str | int | float | bool | None
_GAP: Final = "  "
_NUMBER: Final = re.compile(r"[<>+-]?\d[\d.]*( ([%A-Za-z]{1,4}))?")  # such as "95 %" or "4.2 s"


@dataclass(frozen=True, slots=True)
class Table:
    """Column heads and rows of as many cells; a head may end in its unit: ``loss (nats)``."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.heads):
                raise UsageError(
                    f"a row of {len(row)} cells under {len(self.heads)} heads",
                    remedy="Give every row one cell for each head; None reads as unmeasured.",
                )

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Cell]], title: str = "") -> "Table":
        """Make a table of records; heads stand in order of first appearance."""
        heads = tuple(dict.fromkeys(head for row in rows for head in row))
        return cls(heads, tuple(tuple(row.get(head) for head in heads) for row in rows), title)

    def __str__(self) -> str:
        """The table in plain text, numbers to the right, without trailing spaces."""
        texts = [[cell_text(cell) for cell in row] for row in self.rows]
        heads = [printable(head) for head in self.heads]
        right = [_numeric(column) for column in zip(*self.rows, strict=True)] or [False] * len(
            heads
        )
        widths = [max(map(_width, column)) for column in zip(heads, *texts, strict=True)]
        rule = ["─" * width for width in widths]
        lines = [_line(line, widths, right) for line in (heads, rule, *texts)]
        return "\n".join(([printable(self.title)] if self.title else []) + lines)

    def _repr_html_(self) -> str:
        """The table for Jupyter."""
        right = [_numeric(column) for column in zip(*self.rows, strict=True)]
        caption = f"<caption>{_html(self.title)}</caption>" if self.title else ""
        head = "".join(f"<th>{_html(head)}</th>" for head in self.heads)
        body = "".join(
            "<tr>"
            + "".join(_td(cell, align) for cell, align in zip(row, right, strict=True))
            + "</tr>"
            for row in self.rows
        )
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def cell_text(cell: Cell) -> str:
    """Return how one value reads in a table: None is "unmeasured here", never blank."""
    if cell is None:
        return UNMEASURED_TEXT
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return number_text(cell)
    return printable(str(cell))


def _line(texts: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = []
    for text, width, to_the_right in zip(texts, widths, right, strict=True):
        space = " " * (width - _width(text))
        cells.append(space + text if to_the_right else text + space)
    return _GAP.join(cells).rstrip()


def _numeric(column: Sequence[Cell]) -> bool:
    return all(cell is None or _NUMBER.fullmatch(cell_text(cell)) for cell in column)


def _width(text: str) -> int:
    """Return the columns that ``text`` takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    joined = sum(unicodedata.combining(char) > 0 for char in text)
    return len(text) + wide - joined


def _html(text: str) -> str:
    return escape(printable(text))


def _td(cell: Cell, to_the_right: bool) -> str:  # noqa: FBT001 - from a column's own flag
    style = ' style="text-align:right"' if to_the_right else ""
    return f"<td{style}>{_html(cell_text(cell))}</td>"
