"""What a merge gives: the adapter and the report of its making."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from hivelearn.patch.adapter import Adapter
from hivelearn.report.merge_report import MergeReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
