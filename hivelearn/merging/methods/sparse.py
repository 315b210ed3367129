"""Merges that look at single entries of the deltas: TIES, DARE, DELLA, breadcrumbs.

Each is a choice of two: what stays of every delta (:mod:`hivelearn.merging.methods.masks`)
and how the rest is put together: the weighted sum, or the elected sign of TIES.
They cannot work on factors. They work on blocks of rows instead, made from the
factors whenever they are needed: once for exact thresholds or norms, when the
function is called, and once each time the result is read. Memory stays at a few
blocks whatever the layer and however many deltas.

What all have in common, with shapes n for deltas and (d_out, d_in) for each:

- ``weights`` is (n,) float32. Weight 0 means absent. A negative weight means the
  negated delta with that weight's size, and divisors add up sizes; mergekit divides
  by a sum that may vanish (1455 x the largest input at weights 1, -.999).
- ``settings``: ``density`` (n,) in (0, 1]; ``lam`` multiplies the result, default 1;
  ``normalize`` divides by the weights that took part; ``rescale`` makes up for what
  went: "none", "l1" (mergekit's: match the sum of magnitudes) or, where chance
  decides, "probability" (the papers': divide by it), its default there.
- Entries equal to a threshold all stay, where mergekit keeps an arbitrary few, and
  at least one entry of a trimmed delta stays, where mergekit's breadcrumbs may zero it.
- Chance is drawn by ``keys``, 32 bytes for each delta, not by torch's global state.
- Raised as MergeError: a setting out of range, NaN or infinity in a delta or the sum.

The semantics are those of mergekit 0.1.5, held against it in the tests. A merge of
low-rank deltas by these rules is *not* low-rank: of a TIES merge at 4096², .64 is
lost when it is cut to rank 16.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from hivelearn.merging import blocks
from hivelearn.merging.deltas import Deltas, Rows, Settings
from hivelearn.merging.errors import MergeError
from hivelearn.merging.methods.masks import (
    MergeInputs,
    Selection,
    largest,
    matching_l1,
    random,
    ranked,
    without_outliers,
)
from hivelearn.merging.methods.signs import Combine, Piece, elected_sign, weighted_sum


def ties(deltas: Deltas, weights: Tensor, settings: Settings, keys: Sequence[bytes]) -> Rows:
    """Keep the largest, elect a sign, average those that agree with it.

    Normalises by default: the mean is over the agreeing weights, entry by entry.

    Source: Yadav et al. 2023, algorithm 1, arXiv:2306.01708; the weights as mergekit.
    """
    return _merge(
        MergeInputs(deltas, weights, settings, keys), largest, elected_sign, normalize=True
    )


def magnitude_prune(
    deltas: Deltas, weights: Tensor, settings: Settings, keys: Sequence[bytes]
) -> Rows:
    """Keep the largest of each delta and add them up.

    Source: PEFT's method of that name, here on deltas and not on their factors.
    """
    return _merge(
        MergeInputs(deltas, weights, settings, keys), largest, weighted_sum, normalize=False
    )


def dare_linear(deltas: Deltas, weights: Tensor, settings: Settings, keys: Sequence[bytes]) -> Rows:
    """Keep entries by chance, scale the rest up by ``1 / density``, and add them up.

    Source: Yu et al. 2023, "drop and rescale", arXiv:2311.03099.
    """
    return _merge(
        MergeInputs(deltas, weights, settings, keys), random, weighted_sum, normalize=False
    )


def dare_ties(deltas: Deltas, weights: Tensor, settings: Settings, keys: Sequence[bytes]) -> Rows:
    """Keep entries by chance, elect a sign, add up those that agree with it.

    Source: arXiv:2311.03099 for what stays, arXiv:2306.01708 for the sign.
    """
    return _merge(
        MergeInputs(deltas, weights, settings, keys), random, elected_sign, normalize=False
    )


def della(deltas: Deltas, weights: Tensor, settings: Settings, keys: Sequence[bytes]) -> Rows:
    """Keep entries by chance that grows with their rank, elect a sign, average.

    ``settings`` also has ``epsilon`` (n,). Normalises by default.

    Source: Deep et al. 2024, arXiv:2406.11617.
    """
    return _merge(
        MergeInputs(deltas, weights, settings, keys), ranked, elected_sign, normalize=True
    )


def della_linear(
    deltas: Deltas, weights: Tensor, settings: Settings, keys: Sequence[bytes]
) -> Rows:
    """Keep entries by chance that grows with their rank, and add them up.

    ``settings`` also has ``epsilon`` (n,).

    Source: arXiv:2406.11617 without its election, as in mergekit.
    """
    return _merge(
        MergeInputs(deltas, weights, settings, keys), ranked, weighted_sum, normalize=False
    )


def breadcrumbs(deltas: Deltas, weights: Tensor, settings: Settings, keys: Sequence[bytes]) -> Rows:
    """Drop the very largest and the small of each delta, and add up the rest.

    ``settings`` also has ``gamma`` (n,), the share of entries dropped as outliers.

    Source: Davari and Belilovsky 2023, arXiv:2312.06795; thresholds as in mergekit.
    """
    inputs = MergeInputs(deltas, weights, settings, keys)
    return _merge(inputs, without_outliers, weighted_sum, normalize=False)


def breadcrumbs_ties(
    deltas: Deltas, weights: Tensor, settings: Settings, keys: Sequence[bytes]
) -> Rows:
    """Drop the very largest and the small, elect a sign, add up those that agree.

    ``settings`` also has ``gamma`` (n,).

    Source: arXiv:2312.06795 for what stays, arXiv:2306.01708 for the sign.
    """
    inputs = MergeInputs(deltas, weights, settings, keys)
    return _merge(inputs, without_outliers, elected_sign, normalize=False)


def _merge(
    inputs: MergeInputs,
    select_by: Callable[[MergeInputs], Selection],
    combine: Combine,
    *,
    normalize: bool,
) -> Rows:
    """Look at the deltas once now, and return what merges them a block at a time."""
    selection, present = _rescaled(inputs, select_by), inputs.present
    divide = bool(inputs.settings.get("normalize", normalize))
    lam = float(inputs.settings.get("lam", 1.0))

    def pieces(place: slice) -> Iterator[Piece]:
        for n, weight in present.items():
            block = selection.select(n, place, inputs.deltas.block(n, place))
            yield (block if weight > 0 else block.neg_()), abs(weight), selection.gains[n]

    def rows() -> Iterator[tuple[slice, Tensor]]:
        d_in = inputs.deltas.shape[1]
        for place in blocks.places(inputs.deltas.shape):
            zeros = torch.zeros(place.stop - place.start, d_in)
            merged = combine(pieces(place), zeros, divide).mul_(lam)
            if not blocks.finite(merged):
                blocks.refuse_overflow(inputs.deltas, list(present), place)
            yield place, merged

    return rows


def _rescaled(inputs: MergeInputs, select_by: Callable[[MergeInputs], Selection]) -> Selection:
    allowed = ["none", "l1", *(["probability"] if select_by in (random, ranked) else [])]
    rescale = inputs.settings.get("rescale")
    if rescale is not None and rescale not in allowed:
        raise MergeError(
            f"rescale {rescale!r} does not fit this method",
            remedy=f"Choose one of: {', '.join(allowed)}.",
        )
    selection = select_by(inputs)
    return matching_l1(inputs, selection) if rescale == "l1" else selection
