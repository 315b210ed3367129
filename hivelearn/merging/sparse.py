"""TIES: keep what is large, elect a sign, average those who agree.

The rule looks at single entries of the delta, so it cannot work on factors. It
works on blocks of rows instead, made from the factors whenever they are needed:
once or twice for the exact trim threshold of each adapter, then for the merge.
Memory stays at a few blocks whatever the size of the layer.

A TIES merge of low-rank deltas is *not* low-rank: at rank 16 recompression lost
.64 of it on layers of 4096². That loss is part of the result (``Factors.error``).
"""

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.linear import Part
from hivelearn.merging.lowrank import TOO_LARGE, Factors, Rows, truncate_rows
from hivelearn.merging.plan import MergeError, MergeRecipe

DENSITY: Final = 0.2  # the paper's top 20 %
BLOCK_ELEMENTS: Final = 1 << 22  # of all adapters' rows in a block: 16 MiB of float32
_LOW_BITS: Final = 15  # a float32 without its sign has 31 bits: 16 high, then 15 low


def ties(parts: Sequence[Part], rank: int, recipe: MergeRecipe) -> Factors:
    """Return rank-``rank`` factors of the TIES merge of ``parts``.

    Trim: of each delta, per module, the ``max(1, int(density · numel))`` entries
    of largest magnitude stay; entries equal to the threshold stay all. Elect: the
    sign of the weighted sum of what stayed, zero counting as plus. Merge: the
    weighted mean over those that agree with the sign.

    Args:
        parts: at least one, sorted by content; ranks may differ.
        rank: of the result.
        recipe: gives the density, default .2.

    Source: Yadav et al. 2023, algorithm 1, arXiv:2306.01708; weights in the mean
    as in mergekit 0.1.5. Ours: the paper's λ is the sum of the weights, so that
    half the weight moves half as far; and a negative weight means the negated
    delta with that weight, where mergekit divides by a sum that may vanish
    (1455 x the largest input at weights 1, -.999).

    Raises:
        MergeError: a delta overflows float32.
    """
    density = DENSITY if recipe.density is None else recipe.density
    shape = parts[0].b.shape[0], parts[0].a.shape[1]
    height = max(1, BLOCK_ELEMENTS // (len(parts) * shape[1]))
    places = [slice(top, min(top + height, shape[0])) for top in range(0, shape[0], height)]
    keep = max(1, int(density * shape[0] * shape[1]))
    limits = torch.tensor([threshold(part, places, keep) for part in parts])
    weights = torch.tensor([abs(part.weight) for part in parts])

    def rows() -> Iterator[tuple[slice, Tensor]]:
        for place in places:
            deltas = torch.stack([_block(part, place) for part in parts])  # (n, rows, d_in)
            if not bool(deltas.isfinite().all()):  # trimming would drop a NaN without a word
                raise MergeError(TOO_LARGE)
            yield place, recipe.mass * elect_and_mean(deltas, limits, weights)

    cached = list(rows()) if len(places) == 1 else None  # a small layer is made only once
    again: Rows = rows if cached is None else lambda: iter(cached)
    return truncate_rows(again, shape, rank, key=f"{recipe.method}/{rank}")


def elect_and_mean(deltas: Tensor, limits: Tensor, weights: Tensor) -> Tensor:
    """Trim, elect and average one block of rows.

    Args:
        deltas: (n, rows, d_in) float32.
        limits: (n,) float32, the smallest magnitude of each delta that stays.
        weights: (n,) float32, each > 0.

    Returns:
        (rows, d_in) float32; 0 where nobody agrees.
    """
    trimmed = torch.where(deltas.abs() >= limits[:, None, None], deltas, 0.0)
    share = weights[:, None, None]
    votes = (share * trimmed).sum(dim=0)
    agree = torch.where(votes >= 0, trimmed > 0, trimmed < 0)  # (n, rows, d_in)
    mass = (share * agree).sum(dim=0)
    return (share * trimmed * agree).sum(dim=0) / mass.clamp_min(torch.finfo(mass.dtype).tiny)


def _block(part: Part, place: slice) -> Tensor:
    """Return rows ``place`` of the delta, negated if its weight is negative."""
    scale = part.scale if part.weight >= 0 else -part.scale
    return scale * (part.b[place] @ part.a)


def threshold(part: Part, places: Sequence[slice], keep: int) -> float:
    """Return the ``keep``-th largest magnitude of the delta, exactly.

    Magnitudes of float32 order like their bits, so a count of the high bits finds
    the bin of the threshold and a count of the low bits inside it finds the value.
    A sample will not do: a threshold 5 % off moves the result by 15 %.
    """
    if keep >= part.b.shape[0] * part.a.shape[1]:
        return 0.0
    high = torch.zeros(1 << (31 - _LOW_BITS), dtype=torch.int64)
    for place in places:
        high += torch.bincount(_bits(part, place) >> _LOW_BITS, minlength=len(high))
    top, left = _descend(high, keep)
    low = torch.zeros(1 << _LOW_BITS, dtype=torch.int64)
    for place in places:
        bits = _bits(part, place)
        inside = bits[bits >> _LOW_BITS == top] & ((1 << _LOW_BITS) - 1)
        low += torch.bincount(inside, minlength=len(low))
    bottom, _ = _descend(low, left)
    return float(torch.tensor(top << _LOW_BITS | bottom, dtype=torch.int32).view(torch.float32))


def _bits(part: Part, place: slice) -> Tensor:
    return _block(part, place).abs().view(torch.int32).flatten()


def _descend(counts: Tensor, keep: int) -> tuple[int, int]:
    """Return the bin of the ``keep``-th entry from the top, and its rank inside the bin."""
    above = counts.flip(0).cumsum(0)
    step = int(torch.searchsorted(above, keep))
    before = int(above[step - 1]) if step else 0
    return len(counts) - 1 - step, keep - before
