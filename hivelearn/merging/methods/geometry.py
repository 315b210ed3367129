"""Means of deltas as points, and as directions: coefficients from their inner products.

A delta is one long vector here. Whatever these operators make lies in the span of
the deltas, so n coefficients say it all, and the n x n Gram matrix is enough to
find them: no operator sees a weight of the model.

Nothing depends on the unit in which deltas are measured. The references compare
norms with fixed constants (1e-8 … 1e-5), which is where LoRA deltas live.

Compared in the tests with mergekit 0.1.5, on deltas that are larger than that.
"""

import math
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.methods.gram import norms
from hivelearn.merging.methods.zero_weight import without_zero_weights

_LINE: Final = 0.9995  # |cos| beyond which slerp walks the chord, as everywhere since Shoemake
_COLLINEAR: Final = 1e-10  # sin² below which no arc between two directions is defined
_CANCEL: Final = 1e-6  # length of a mean of unit vectors that is rounding, not a direction


def linear(gram: Tensor | None, weights: Tensor) -> Tensor:  # noqa: ARG001 - one signature for all
    """Return the weighted mean, ``w / Σ w``.

    Negative weights subtract. Blind to geometry: one hostile patch moves it anywhere.

    Args:
        gram: not looked at, may be None.
        weights: (n,) float64.

    Returns:
        (n,) float64; the merged delta is Σ c_i Δ_i.

    Raises:
        MergeError: the weights cancel.

    Source: model soups, arXiv:2203.05482.
    """
    total = float(weights.sum())
    if not abs(total) > 1e-6 * float(weights.abs().sum()):
        raise MergeError(
            "the weights cancel, so there is no mean to speak of",
            remedy="Use task_arithmetic, which does not divide by their sum.",
        )
    return weights.double() / total


def task_arithmetic(
    gram: Tensor | None,  # noqa: ARG001 - as linear
    weights: Tensor,
    *,
    lam: float = 1.0,
) -> Tensor:
    """Return the plain sum, ``lam · w``: weights as they are, of any sign and sum.

    Source: arXiv:2212.04089. Arguments and result as in :func:`linear`.
    """
    return weights.double() * lam


@without_zero_weights
def slerp(gram: Tensor, weights: Tensor, *, t: float | None = None) -> Tensor:
    """Return the point at ``t`` on the arc from the first delta to the second.

    The two need not be unit vectors: the coefficients of the arc between their
    directions are applied to the deltas themselves, as mergekit does. Beyond
    |cos| = .9995 the chord stands for the arc, so antipodes pass through zero.

    Args:
        gram: (2, 2) float64.
        weights: (2,) float64 ≥ 0.
        t: in [0, 1]; by default the second one's share of the weight.

    Returns:
        (2,) float64.

    Raises:
        MergeError: other than two deltas have weight.

    Source: Shoemake 1985. Ours: t from the weights; a delta of norm 1e-8 is as
    good as any.
    """
    cos = _cosine_of_two(gram, "slerp")
    return _arc(cos, float(weights[1]) if t is None else t, linear=abs(cos) > _LINE)


@without_zero_weights
def nuslerp(gram: Tensor, weights: Tensor) -> Tensor:
    """Return the point on the arc between two deltas that their weights ask for.

    :func:`slerp` up to where the directions coincide or oppose each other exactly;
    there, the weighted mean. Whole deltas are one vector each (mergekit's
    ``nuslerp_flatten: true``). Arguments and errors as in :func:`slerp`.

    Source: mergekit.
    """
    cos = _cosine_of_two(gram, "nuslerp")
    return _arc(cos, float(weights[1]), linear=1.0 - cos * cos <= _COLLINEAR)


@without_zero_weights
def multislerp(gram: Tensor, weights: Tensor) -> Tensor:
    """Return the mean direction times the mean norm, both weighted.

    The published method then takes one step in the tangent space at the mean
    direction μ. That step is zero: Σ w_i (u_i − ⟨u_i, μ⟩ μ) = m − ⟨m, μ⟩ μ = 0 for
    m = Σ w_i u_i and μ = m / ‖m‖. What is left is this; :func:`karcher` takes the
    step that was meant.

    Args:
        gram: (n, n) float64.
        weights: (n,) float64 ≥ 0.

    Returns:
        (n,) float64.

    Raises:
        MergeError: the directions cancel (mergekit falls back to linear for two
            deltas, and refuses more).

    Source: goddard.blog/posts/multislerp-wow-what-a-cool-idea, as mergekit has it.
    """
    lengths, mean = _mean_direction(gram, weights)
    return _along(mean, lengths, weights)


@without_zero_weights
def karcher(gram: Tensor, weights: Tensor, *, rounds: int = 500, tol: float = 1e-7) -> Tensor:
    """Return the Karcher mean of the directions times the mean norm, both weighted.

    The Karcher mean minimises Σ w_i angle². Each round maps the directions into
    the tangent space at the present mean and walks to their average there; since
    no curvature of angle² exceeds 1, a full step never climbs.

    Args:
        gram: (n, n) float64.
        weights: (n,) float64 ≥ 0.
        rounds: at most so many; 10 is mergekit's.
        tol: length in radians of the step that ends it; 1e-5 is mergekit's.

    Returns:
        (n,) float64; zeros if every delta is zero.

    Raises:
        MergeError: the directions cancel (mergekit starts at the first one then,
            so that its result depends on the order).

    Source: arXiv:2603.04972, as mergekit has it. Ours: weights; convergence, where
    ten rounds can leave 5e-3; small deltas count (mergekit drops norms below 1e-5).
    """
    lengths, mean = _mean_direction(gram, weights)
    units = _cosines(gram, lengths)
    for _ in range(int(rounds)):
        dots = (units @ mean).clamp(-1.0, 1.0)
        sines = (1.0 - dots * dots).sqrt()
        # θ / sin θ is 1 at the mean itself; at its antipode no direction leads home.
        pull = weights * torch.where(sines > _CANCEL, dots.arccos() / sines, 1.0)
        step = pull - (pull @ dots) * mean  # coefficients of the tangent vector
        length = math.sqrt(max(0.0, float(step @ units @ step)))
        if length < tol:
            break
        mean = math.cos(length) * mean + (math.sin(length) / length) * step
    return _along(mean, lengths, weights)


@without_zero_weights
def model_stock(gram: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean, moved towards zero as far as the deltas disagree.

    If deltas are one centre plus noise, cos θ between two of them says how much of
    each is the centre, and ``t = cos θ / (S + (1 − S) cos θ)`` with S = Σ w_i² (1/n
    for equal weights) is the share of their mean that lies nearest to it.

    Args:
        gram: (n, n) float64.
        weights: (n,) float64 ≥ 0.

    Returns:
        (n,) float64, ``t · w`` with t in [0, 1].

    Source: arXiv:2403.19522, equation 5. Ours: weights. Any scale: mergekit clamps
    ‖Δ_i‖ ‖Δ_j‖ at 1e-6, so that at deltas of norm 5e-5 its t falls to .004 of the
    right one. t stays 0 where the mean cosine is negative: mergekit extrapolates
    away from what was learnt there.
    """
    cosines = _cosines(gram, norms(gram))
    pairs = (weights[:, None] * weights).fill_diagonal_(0.0)
    apart = float(pairs.sum())  # 1 − S
    cos = max(0.0, float((pairs * cosines).sum()) / apart)
    return weights * (cos / (1.0 - apart + apart * cos))


def _cosine_of_two(gram: Tensor, name: str) -> float:
    if len(gram) != 2:  # noqa: PLR2004 - an arc has two ends
        raise MergeError(
            f"{name} goes between two adapters, and {len(gram)} have weight",
            remedy="Use multislerp or karcher for more than two.",
        )
    return float(_cosines(gram, norms(gram))[0, 1])


def _arc(cos: float, t: float, *, linear: bool) -> Tensor:
    if linear:
        return torch.tensor([1.0 - t, t], dtype=torch.float64)
    angle = math.acos(cos)
    ends = [math.sin((1.0 - t) * angle), math.sin(t * angle)]
    return torch.tensor(ends, dtype=torch.float64) / math.sin(angle)


def _cosines(gram: Tensor, lengths: Tensor) -> Tensor:
    """Return (n, n) cosines; those of a zero delta are 0."""
    inverse = torch.where(lengths > 0.0, 1.0 / lengths, 0.0)
    return (gram * inverse[:, None] * inverse).clamp(-1.0, 1.0)


def _mean_direction(gram: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the norms, and the weighted mean of the unit vectors made a unit vector.

    The latter as coefficients over the unit vectors; zeros if every delta is zero.
    """
    lengths = norms(gram)
    if not bool(lengths.any()):
        return lengths, torch.zeros_like(weights)
    length = math.sqrt(max(0.0, float(weights @ _cosines(gram, lengths) @ weights)))
    if length < _CANCEL * float(weights[lengths > 0.0].sum()):
        raise MergeError(
            "the deltas point in opposite directions that cancel, so they have no mean direction",
            remedy="Use linear, or leave one of the opposed adapters out.",
        )
    return lengths, weights / length


def _along(mean: Tensor, lengths: Tensor, weights: Tensor) -> Tensor:
    """Turn coefficients over unit vectors into those over deltas, at their mean norm."""
    return torch.where(lengths > 0.0, mean * (lengths @ weights) / lengths, 0.0)
