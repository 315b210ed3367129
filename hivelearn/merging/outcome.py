"""What a merge tells: who counted how much where, how alike they were, what was lost."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Self

from hivelearn.patch.adapter import Adapter
from hivelearn.report.table import Table

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

    def __str__(self) -> str:
        """Tell method, size and loss in one line, then the sources' weights."""
        head = (
            f"{self.method}: rank {self.rank}, {len(self.errors)} modules, "
            f"{self.error:.1%} lost to recompression"
        )
        rows = [
            {"source": name, "weight": weight}
            for name, weight in zip(self.sources, self.weights, strict=True)
        ]
        return "\n".join(filter(None, (head, self.why, str(Table.of(rows)))))

    def _repr_html_(self) -> str:
        rows = [
            {"source": name, "weight": weight}
            for name, weight in zip(self.sources, self.weights, strict=True)
        ]
        return Table.of(rows, str(self).split("\n", 1)[0])._repr_html_()

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))

    def plot(self) -> "Axes":
        """Draw cosines, norms by layer and coefficients; needs ``hivelearn[plots]``.

        Returns:
            The first of three axes; ``.figure`` is the whole.
        """
        from hivelearn.report.merge_figure import draw

        return draw(self)


@dataclass(frozen=True, eq=False)
class Merged:
    """A merged adapter and the report of its making. Its scale is 1: alpha = rank."""

    adapter: Adapter
    report: MergeReport

    def __str__(self) -> str:
        """Tell what the report tells."""
        return str(self.report)

    def because(self, why: str) -> Self:
        """Return the same with the reason it was chosen."""
        return replace(self, report=replace(self.report, why=why))

    def plot(self) -> "Axes":
        """Draw the report; see :meth:`MergeReport.plot`."""
        return self.report.plot()

    def _repr_html_(self) -> str:
        return self.report._repr_html_()
