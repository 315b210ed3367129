"""How a merge went: who counted how much where, how alike they were, what was lost."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from hivelearn.report.merge_figure import draw
from hivelearn.report.table import Cell, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class MergeReport:
    """How a merge went, in plain numbers; sources stand in the caller's order.

    Attributes:
        method: its name.
        recipe: the recipe's id, 64 hex digits.
        sources: what messages call them.
        weights: the share of each, mean over the modules.
        coefficients: module to the factor of each source's delta; empty for a
            method that is no weighted sum.
        cosines: between whole adapters, (n, n); empty if they were not looked at.
        norms: module to the Frobenius norm of each source's delta; empty likewise.
        merged: module to the norm of the merged delta.
        errors: module to the relative Frobenius distance between the merged delta
            and what the method asked for: 0 exact, 1 all lost to recompression.
        error: the same over all modules together.
        rank: of the result.
        why: why this method, if it was chosen by score.
        notes: what a reader should know of the sources, the configuration or the file.
    """

    method: str
    recipe: str
    sources: tuple[str, ...]
    weights: tuple[float, ...]
    coefficients: Mapping[str, tuple[float, ...]]
    cosines: tuple[tuple[float, ...], ...]
    norms: Mapping[str, tuple[float, ...]]
    merged: Mapping[str, float]
    errors: Mapping[str, float]
    error: float
    rank: int
    why: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Tell method, size and loss in one line, then the sources' weights."""
        head = (
            f"{self.method}: rank {self.rank}, {len(self.errors)} modules, "
            f"{self.error:.1%} lost to recompression"
        )
        return "\n".join(filter(None, (head, self.why, *self.notes, str(self._table()))))

    def _repr_html_(self) -> str:
        return self._table(str(self).split("\n", 1)[0])._repr_html_()

    def _table(self, title: str = "") -> Table:
        rows: list[dict[str, Cell]] = [
            {"source": name, "weight": weight}
            for name, weight in zip(self.sources, self.weights, strict=True)
        ]
        return Table.of(rows, title)

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))

    def plot(self) -> "Axes":
        """Draw cosines, norms by layer and coefficients; needs ``hivelearn[plots]``.

        Returns:
            The first of three axes; ``.figure`` is the whole.
        """
        return draw(self)
