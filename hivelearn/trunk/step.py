"""The arithmetic of a round: parts onto trunks become the next trunk.

With T the trunk and T₋ the one before, P a part, T(P) the trunk that it was trained onto and
c its factor, all as deltas (scale · B·A), the next trunk is

    T + Σ c · (P - T(P)) + μ · (T - T₋)

Federated averaging (McMahan et al. 2017, arXiv:1602.05629, Algorithm 1) with heavy-ball
momentum on the server (Hsu et al. 2019, arXiv:1909.06335), here on whole products: means of
A and B apart would hold the cross terms of everybody's A with everybody's B. The sum is cut
to the trunk's rank by the nearest matrix of that rank, in the basis that this gives; what
the cut loses is told. Balanced so, A and B are of one size, which lets the next
round learn faster (measured: docs/adr/0018-rounds-on-a-trunk.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from hivelearn.gate.norms import delta_norms, product_norm, whole_norm
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.patch.adapter import Adapter

_SUM: Final = "task_arithmetic"
_NOTHING: Final = 1e-9  # of rounding, where a trunk's factors cancel


@dataclass(frozen=True, slots=True)
class Move:
    """One part, and how much of what it adds is taken."""

    part: Adapter
    onto: Adapter | None  # the trunk that it was trained onto; None: the model itself
    factor: float


@dataclass(frozen=True, slots=True)
class Step:
    """The next trunk."""

    adapter: Adapter  # alpha = rank
    lost: float  # share of the sum's Frobenius norm that the cut to the rank lost


def next_trunk(
    trunk: Adapter | None,
    before: Adapter | None,
    moves: Sequence[Move],
    momentum: float = 0.0,
    rank: int | None = None,
) -> Step:
    """Return the trunk that ``moves`` make of ``trunk``.

    Args:
        trunk: None is the model itself.
        before: the one before it, for momentum.
        moves: at least one.
        momentum: μ, 0 … 1; without a trunk there is nothing to go on with.
        rank: of the result; that of the trunk, or of the parts if there is none.

    Raises:
        MergeError: they are adapters of different models.
    """
    factors: dict[int, float] = {}
    named: dict[int, Adapter] = {}

    def add(adapter: Adapter | None, factor: float) -> None:
        if adapter is not None:
            named[id(adapter)] = adapter
            factors[id(adapter)] = factors.get(id(adapter), 0.0) + factor

    for move in moves:
        add(move.part, move.factor)
        add(move.onto, -move.factor)
    add(trunk, 1.0)
    if trunk is not None:
        add(trunk, momentum)
        add(before, -momentum)
    terms = [(named[key], factor) for key, factor in factors.items() if abs(factor) > _NOTHING]
    rank = rank or (trunk.rank if trunk is not None else max(move.part.rank for move in moves))
    recipe = MergeRecipe(_SUM, tuple(factor for _, factor in terms), {}, rank, allow_negative=True)
    made, report = merge(
        [adapter for adapter, _ in terms], recipe, report=True, progress=False, study=False
    )
    return Step(made, report.error)


def change_norm(part: Adapter, onto: Adapter | None) -> float:
    """Return the Frobenius norm of what ``part`` adds to the trunk that it was trained onto."""
    if onto is None:
        return whole_norm(delta_norms(part))
    norms = []
    for module in part.factors.keys() | onto.factors.keys():
        pairs = [(one, sign) for one, sign in ((part, 1.0), (onto, -1.0)) if module in one.factors]
        a = torch.cat([one.factors[module][0].double() for one, _ in pairs])
        b = torch.cat([one.factors[module][1].double() * (one.scale * s) for one, s in pairs], 1)
        norms.append(product_norm(a, b))
    return math.hypot(*norms)
