"""The report of a merge, built module by module while it walks."""

from collections.abc import Sequence
from typing import Final, TypeVar

import torch
from torch import Tensor

from hivelearn.merging.lowrank.factors import Factors, relative_error
from hivelearn.merging.methods.gram import norms
from hivelearn.merging.run.plan import MergePlan
from hivelearn.merging.run.survey import Survey
from hivelearn.report.merge_report import MergeReport

T = TypeVar("T")

_MUCH: Final = 0.2  # of the norm lost: from here on the report says what else to do


class ReportBuilder:
    """Collects per module coefficients, in the plan's order, and squared norms."""

    def __init__(self, plan: MergePlan) -> None:
        self._plan = plan
        self._coefficients: dict[str, tuple[float, ...]] = {}
        self._kept: dict[str, float] = {}
        self._total: dict[str, float] = {}

    def add(self, module: str, coefficients: tuple[float, ...], made: Factors) -> None:
        """Take in how one module went."""
        self._kept[module], self._total[module] = made.kept, made.total
        if coefficients:
            self._coefficients[module] = coefficients

    def add_untouched(self, module: str) -> None:
        """Take in that a module stayed as it was."""
        self._kept[module] = self._total[module] = 0.0

    def build(self, survey: Survey | None, rank: int) -> MergeReport:
        """Return the report of the walk, its sources in the caller's order."""
        plan, kept, total = self._plan, self._kept, self._total
        order = sorted(range(len(plan.order)), key=lambda n: plan.order[n])
        weights = torch.stack(list(map(plan.weights, plan.modules))).mean(dim=0)
        cosines, lengths = Tensor(), {}
        if survey is not None:
            cosines = _cosines(survey)
            lengths = {m: _in(order, norms(g).tolist()) for m, g in survey.grams.items()}
        error = relative_error(sum(kept.values()), sum(total.values()))
        return MergeReport(
            method=plan.op.name,
            recipe=plan.recipe.id.hex(),
            sources=tuple(plan.sources[n].name for n in order),
            weights=_in(order, weights.tolist()),
            coefficients={m: _in(order, row) for m, row in self._coefficients.items()},
            cosines=tuple(_in(order, row) for row in _in(order, cosines.tolist())),
            norms=lengths,
            merged={module: squared**0.5 for module, squared in kept.items()},
            errors={m: relative_error(kept[m], total[m]) for m in kept},
            error=error,
            rank=rank,
            why=_advice(plan.op.name) if plan.op.kind == "stream" and error > _MUCH else "",
        )


def _cosines(survey: Survey) -> Tensor:
    """Return the (n, n) cosines between whole adapters."""
    total = torch.stack(list(survey.grams.values())).sum(dim=0)
    sizes = norms(total)
    return total / (sizes[:, None] * sizes).clamp_min(torch.finfo(total.dtype).tiny)


def _advice(method: str) -> str:
    return (
        f"What {method!r} makes is not low-rank. 'core_{method}' makes what is; a higher rank "
        "keeps more; merged into a model (merge_into, --base) nothing is lost."
    )


def _in(order: Sequence[int], row: Sequence[T]) -> tuple[T, ...]:
    return tuple(row[n] for n in order) if row else ()
