"""Merges that a minority cannot move far: coefficients from distances and trust.

The share that counts is *trust*, never the number of patches: a patch split into
ten, each with a tenth of its weight, changes nothing here (krum and multi_krum,
which count heads, live apart for that reason). Whoever makes a thousand identities
still has only the trust they have together.

All operators are functions of the Gram matrix of whole adapters; over modules it
adds up. No geometric rule replaces validation: a hostile minority may move a merge
as far as honest patches lie apart, and that is what the figures below say.
"""

from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.methods.gram import distances, norms
from hivelearn.merging.methods.median import geometric_median, squared_distances, weighted_median
from hivelearn.merging.methods.zero_weight import without_zero_weights
from hivelearn.merging.recipe.method_table import HOSTILE_SHARE

_SETTLED: Final = 1e-12  # change of a coefficient that ends an iteration


def module_clip(lengths: Tensor, weights: Tensor) -> Tensor:
    """Return what to scale each patch by in each module, so that none is loud there.

    The norm of a patch in a module may be at most the trust-weighted median among
    the patches that touch the module. Ten times the norm in one of 224 modules
    raises the norm of the adapter 1.2 times: only a look at each module finds it.

    The walk of ``robust``: Gram matrices G_m of all modules, ``k = module_clip``,
    coefficients c from Σ_m G_m ∘ k_m k_mᵀ, merged delta Σ_i c_i k_im Δ_im.

    Args:
        lengths: (n, m) float64, norms; 0 where a patch leaves a module alone.
        weights: (n,) float64 ≥ 0.

    Returns:
        (n, m) float64 in (0, 1].

    Tolerates: in each module, less than half of the trust that touches it. Where
    hostile patches alone touch one, the clip of whole adapters is what is left.

    Source: ours, after the per-tensor clip of Templar's Gauntlet (2025).
    """
    touching = weights[:, None].double() * (lengths > 0.0)
    limit = weighted_median(lengths.double(), touching)
    return torch.where((lengths > limit) & (limit > 0.0), limit / lengths, 1.0)


def nearest_mixing(gram: Tensor, weights: Tensor, phi: float = HOSTILE_SHARE) -> Tensor:
    """Return, row by row, each patch's average over its nearest until trust 1 − phi.

    Args:
        gram: (n, n) float64.
        weights: (n,) float64 ≥ 0, summing to 1.
        phi: in [0, .5).

    Returns:
        (n, n) float64, rows summing to 1. With equal weights and phi = f/n it is the
        mixing of the source, over n − f neighbours.

    Source: arXiv:2302.01772, algorithm 1. Ours: trust where the source counts.
    """
    if not 0.0 <= phi < 0.5:  # noqa: PLR2004 - half of the trust is nobody's minority
        raise MergeError(f"phi {phi} is not in [0, 0.5)")
    order = distances(gram).argsort(dim=1, stable=True)  # (n, n), nearest first
    trust = weights[order]
    before = trust.cumsum(dim=1) - trust
    taken = (1.0 - phi - before).clamp_min(0.0).minimum(trust)  # the last one in part
    mixing = torch.zeros_like(gram).scatter_(1, order, taken)
    return mixing / mixing.sum(dim=1, keepdim=True)


@without_zero_weights
def nnm(gram: Tensor, weights: Tensor, *, phi: float = HOSTILE_SHARE) -> Tensor:
    """Return the weighted mean of the patches after nearest-neighbour mixing.

    Args:
        gram: (n, n) float64.
        weights: (n,) float64 ≥ 0.
        phi: share of trust taken for hostile, in [0, .5).

    Returns:
        (n,) float64, ≥ 0, summing to 1.

    Tolerates: alone, nothing: hostile patches stay in the mean, and one that is loud
    enough moves it anywhere. It is meant to be followed by a robust rule, as in
    :func:`robust`.

    Source: arXiv:2302.01772, algorithm 1 and the average.
    """
    return weights @ nearest_mixing(gram, weights, phi)


@without_zero_weights
def monna(
    gram: Tensor, weights: Tensor, *, own: int | None = None, phi: float = HOSTILE_SHARE
) -> Tensor:
    """Return the mean of the patches nearest to one that is trusted.

    Args:
        gram: (n, n) float64.
        weights: (n,) float64 ≥ 0.
        own: place of the trusted patch among those with weight; by default the
            one of largest weight, of several the one nearest to all: never the
            first, for the order of patches means nothing.
        phi: share of trust left out, in [0, .5).

    Returns:
        (n,) float64, ≥ 0, summing to 1.

    Tolerates: hostile trust up to phi, if the pivot is honest; nothing otherwise. In
    the test described at :func:`robust` .13 with a sixth, .25 with .44.

    Source: arXiv:2210.00325 (MoNNA), equation 2. Ours: trust where it counts.
    """
    pivot = own
    if pivot is None:
        apart = distances(gram).sqrt() @ weights
        pivot = int(apart.where(weights == weights.max(), torch.inf).argmin())
    if not 0 <= pivot < len(weights):
        raise MergeError(f"own patch {own} is not one of the {len(weights)} that have weight")
    return nearest_mixing(gram, weights, phi)[pivot]


@without_zero_weights
def centred_clip(
    gram: Tensor, weights: Tensor, *, radius: float = 1.0, rounds: int = 500
) -> Tensor:
    """Return the mean of the deltas clipped around where the last round ended.

    The first centre is zero, what stands; so the first round clips norms. A clip is
    at ``radius`` times the trust-weighted median distance to the centre.

    Args:
        gram: (n, n) float64.
        weights: (n,) float64 ≥ 0.
        radius: above 0.
        rounds: at most so many; 1 with radius 1 is the mean clipped to the median norm.

    Returns:
        (n,) float64, ≥ 0; they sum to less than 1 as long as zero, the first
        centre, has a share.

    Tolerates: hostile trust below half, within bounds that grow towards it: in the
    test described at :func:`robust` .08 with a sixth, .35 with .4, .55 with .44.

    Source: arXiv:2012.10333, algorithm 1. Ours: the clip follows the median distance
    instead of being a constant, so it needs no unit; trust as weights.
    """
    if not radius > 0.0:
        raise MergeError(f"radius {radius} is not above 0")
    squares = gram.diagonal().clamp_min(0.0)
    apart = torch.zeros(len(gram) + 1, len(gram) + 1, dtype=gram.dtype)  # zero is the last point
    apart[:-1, :-1], apart[-1, :-1], apart[:-1, -1] = distances(gram), squares, squares
    found = torch.zeros(len(apart), dtype=gram.dtype)
    found[-1] = 1.0
    for _ in range(int(rounds)):
        away = squared_distances(apart, found)[:-1].clamp_min(0.0).sqrt()
        limit = radius * weighted_median(away[:, None], weights[:, None])
        clip = torch.where(away > limit, limit / away, 1.0) * weights
        last, found = found, found * (1.0 - clip.sum())
        found[:-1] += clip  # v + Σ w_i clip_i (Δ_i − v), in coefficients
        if float((found - last).abs().max()) <= _SETTLED:
            break
    return found[:-1]


@without_zero_weights
def robust(gram: Tensor, weights: Tensor, *, phi: float = HOSTILE_SHARE) -> Tensor:
    """Return the default of a merge among strangers.

    Norms are clipped to the trust-weighted median, patches mixed with their nearest,
    and of the mixtures the geometric median is taken, all by trust.

    Args:
        gram: (n, n) float64, of whole adapters, after :func:`module_clip`.
        weights: (n,) float64 ≥ 0.
        phi: share of trust taken for hostile, in [0, .5). Above the true share it
            costs little; below, all bounds are gone.

    Returns:
        (n,) float64, ≥ 0, summing to at most 1: a clipped patch counts for less.

    Tolerates: hostile trust up to phi. Measured: 20 honest patches, each .35 from their
    mean in units of its norm; the worst of 13 attacks of byzfl moves the merge by .13
    with a sixth of the trust, .26 with .4 and .29 with .44 (all three by mimicry of
    an honest patch, else .06), whether they come as 4 patches or as 180. Patches that
    differ by as much as they agree (1.0) are beyond it: .8 at .44.

    Source: arXiv:2302.01772 for mixing before a robust rule; the chain is ours.
    """
    lengths = norms(gram)
    clip = module_clip(lengths[:, None], weights)[:, 0]
    clipped = gram * clip[:, None] * clip
    mixing = nearest_mixing(clipped, weights, phi)
    return (geometric_median(mixing @ clipped @ mixing.T, weights) @ mixing) * clip
