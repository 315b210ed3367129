"""Zero weight is absence: the frame around every operator from Gram matrix to coefficients.

An operator proper sees only patches that have weight, and weights that sum to 1.
So none of them counts, ranks or takes the median of patches that nobody trusts,
and what a single patch merges to is settled here: itself.
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from torch import Tensor

from hivelearn.merging.errors import MergeError

P = ParamSpec("P")
GramRule = Callable[Concatenate[Tensor, Tensor, P], Tensor]  # (gram, weights, ...) -> coefficients


def without_zero_weights(rule: GramRule[P]) -> GramRule[P]:
    """Let ``rule`` see the patches of positive weight only, their weights summing to 1.

    What comes out takes any weights ≥ 0 and depends on their ratios alone; a patch
    without weight has coefficient 0, and one patch alone has coefficient 1.

    Raises:
        MergeError: the shapes differ; a weight is negative, not finite, or all are 0;
            the Gram matrix holds NaN or infinity.
    """

    @wraps(rule)
    def coefficients(gram: Tensor, weights: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        _check(gram, weights, rule.__name__)
        here = weights.nonzero().flatten()
        found = weights.new_zeros(len(weights)).double()
        if len(here) == 1:
            found[here] = 1.0
            return found
        inner = gram.double()[here][:, here]
        shares = weights[here].double()
        found[here] = rule(inner, shares / shares.sum(), *args, **kwargs)
        return found

    return coefficients


def _check(gram: Tensor, weights: Tensor, name: str) -> None:
    if weights.ndim != 1 or gram.shape != (len(weights), len(weights)):
        raise MergeError(f"{len(weights)} weights for a Gram matrix of {tuple(gram.shape)}")
    if not bool(gram.isfinite().all()):
        raise MergeError("the inner products of the deltas hold NaN or infinity")
    for place, weight in enumerate(weights.tolist()):
        if not 0.0 <= weight < float("inf"):  # NaN fails this too
            what = "a negative share" if weight < 0 else f"{weight:g}"
            raise MergeError(
                f"has {what} of the weight, which {name} cannot give",
                remedy="linear, task_arithmetic, iso_c, tsv and the entrywise methods can.",
                delta=place,
            )
    if not bool(weights.any()):
        raise MergeError("every weight is 0, so nothing would be merged")
