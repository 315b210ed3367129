"""What is noted module by module while a merge walks, and the report made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import torch
from torch import Tensor

from hivelearn.merging.gram import norms
from hivelearn.merging.lowrank.factors import Factors, relative_error
from hivelearn.merging.plan import Plan
from hivelearn.merging.survey import Survey
from hivelearn.report.merge_report import MergeReport

T = TypeVar("T")

_MUCH: Final = 0.2  # of the norm lost: from here on the report says what else to do


@dataclass
class Tally:
    """Per module: coefficients in the plan's order, and squared norms."""

    coefficients: dict[str, tuple[float, ...]] = field(default_factory=dict)
    kept: dict[str, float] = field(default_factory=dict)
    total: dict[str, float] = field(default_factory=dict)

    def note(self, module: str, coefficients: tuple[float, ...], made: Factors) -> None:
        """Note how one module went."""
        self.kept[module], self.total[module] = made.kept, made.total
        if coefficients:
            self.coefficients[module] = coefficients

    def nothing(self, module: str) -> None:
        """Note that a module stayed as it was."""
        self.kept[module] = self.total[module] = 0.0


def reported(plan: Plan, survey: Survey | None, tally: Tally, rank: int) -> MergeReport:
    """Return the report of a walk, its sources in the caller's order."""
    order = sorted(range(len(plan.order)), key=lambda n: plan.order[n])
    weights = torch.stack(list(map(plan.weights, plan.modules))).mean(dim=0)
    cosines, lengths = Tensor(), {}
    if survey is not None:
        total = torch.stack(list(survey.grams.values())).sum(dim=0)
        sizes = norms(total)
        cosines = total / (sizes[:, None] * sizes).clamp_min(torch.finfo(total.dtype).tiny)
        lengths = {m: _in(order, norms(g).tolist()) for m, g in survey.grams.items()}
    error = relative_error(sum(tally.kept.values()), sum(tally.total.values()))
    return MergeReport(
        method=plan.op.name,
        recipe=plan.recipe.id.hex(),
        sources=tuple(plan.sources[n].name for n in order),
        weights=_in(order, weights.tolist()),
        coefficients={m: _in(order, row) for m, row in tally.coefficients.items()},
        cosines=tuple(_in(order, row) for row in _in(order, cosines.tolist())),
        norms=lengths,
        merged={module: kept**0.5 for module, kept in tally.kept.items()},
        errors={m: relative_error(tally.kept[m], tally.total[m]) for m in tally.kept},
        error=error,
        rank=rank,
        why=_advice(plan.op.name) if plan.op.kind == "stream" and error > _MUCH else "",
    )


def _advice(method: str) -> str:
    return (
        f"What {method!r} makes is not low-rank. 'core_{method}' makes what is; a higher rank "
        "keeps more; merged into a model (merge_into, --base) nothing is lost."
    )


def _in(order: Sequence[int], row: Sequence[T]) -> tuple[T, ...]:
    return tuple(row[n] for n in order) if row else ()
