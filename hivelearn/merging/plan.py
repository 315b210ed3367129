"""What to merge, as numbers: method, weights, density, rank. No tensor here.

Weights are absolute: what they do not give stays where it was. Half the weight
moves half as far, under any method, so a caller whose trust adds up to .6 gets
.6 of a merge and not a merge among the trusted (DESIGN.md §7: never renormalise).
The default is the plain mean, 1/n each.
"""

import math
from dataclasses import dataclass
from typing import Final, Self

from hivelearn.errors import UsageError
from hivelearn.patch.header import RANK_MAX

WEIGHT_MAX: Final = 1_000.0  # far above any sane weight, far below float32 overflow


class MergeError(UsageError):
    """These adapters, or these settings, cannot be merged."""

    remedy = "Leave out the adapter or setting that the message names, then merge again."


@dataclass(frozen=True, slots=True)
class MergeRecipe:
    """How to merge n adapters; refuses at birth what cannot work.

    Attributes:
        method: a name of :mod:`hivelearn.merging.table`.
        weights: one per adapter, each in [0, 1000], at least one positive.
        density: share of entries a sparse method keeps, in (0, 1]; None for its
            default, and for methods that keep all.
        rank: of the result, 1 … 64; None for the largest rank among the adapters,
            so that merges of merges do not grow.
        allow_negative: lets weights be below zero (task negation: the adapter's
            delta is subtracted).
    """

    method: str
    weights: tuple[float, ...]
    density: float | None = None
    rank: int | None = None
    allow_negative: bool = False

    def __post_init__(self) -> None:
        """Check every number before a tensor is touched."""
        if not self.weights:
            raise MergeError("nothing to merge: no adapter was given")
        try:
            object.__setattr__(self, "weights", tuple(float(weight) for weight in self.weights))
        except (TypeError, ValueError):
            raise MergeError(f"weights {self.weights!r} are not numbers") from None
        for place, weight in enumerate(self.weights):
            self._check_weight(place, weight)
        if not any(self.weights):
            raise MergeError("every weight is 0, so nothing would be merged")
        if self.density is not None and not 0.0 < self.density <= 1.0:  # NaN fails this too
            raise MergeError(f"density {self.density} is not in (0, 1]")
        if self.rank is not None and not (type(self.rank) is int and 1 <= self.rank <= RANK_MAX):
            raise MergeError(f"rank {self.rank!r} is not a whole number in 1 … {RANK_MAX}")

    def _check_weight(self, place: int, weight: float) -> None:
        if not abs(weight) <= WEIGHT_MAX:  # NaN and infinity fail this too
            raise MergeError(f"weight {weight} of adapter {place} is not within ±{WEIGHT_MAX:g}")
        if weight < 0 and not self.allow_negative:
            raise MergeError(
                f"weight {weight} of adapter {place} is negative",
                remedy="Pass allow_negative=True if you mean to subtract what it learnt.",
            )

    @classmethod
    def mean(
        cls,
        count: int,
        method: str = "linear",
        *,
        density: float | None = None,
        rank: int | None = None,
    ) -> Self:
        """Return the recipe of a plain mean of ``count`` adapters."""
        if count < 1:
            raise MergeError("nothing to merge: no adapter was given")
        return cls(method, (1.0 / count,) * count, density, rank)

    @property
    def mass(self) -> float:
        """How far the merge moves in all: the sum of the weights' sizes."""
        return math.fsum(abs(weight) for weight in self.weights)
