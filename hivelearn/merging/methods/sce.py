"""SCE: select the entries where deltas differ most, weigh deltas by their energy, elect a sign.

The variance over the deltas is itself a matrix made a block at a time, so its
threshold is found as any delta's is. Deltas are made anew in every pass instead of
being held: six passes, in the memory of a few blocks.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hivelearn.merging import blocks
from hivelearn.merging.deltas import Deltas, Rows, Settings
from hivelearn.merging.errors import MergeError
from hivelearn.merging.methods.kth_largest import kth_largest
from hivelearn.merging.methods.masks import mask, row_sums
from hivelearn.merging.methods.signs import SignSums


def sce(deltas: Deltas, weights: Tensor, settings: Settings, keys: Sequence[bytes]) -> Rows:
    """Merge by selecting, calculating and erasing.

    Select: the ``max(1, int(select_topk · m))`` entries of largest variance over the
    deltas stay, of m with any variance, and all equal to the last of them. Calculate:
    each delta's share is the mean square of what stayed of it. Erase: entries whose
    sign is not that of the sum over the deltas; the rest is averaged by the shares.

    Args:
        deltas: n of shape (d_out, d_in).
        weights: (n,) float32. The method has none; ours are those with which a delta
            counts in variance, vote and share, so that equal ones change nothing and
            a vanishing one takes its delta out. A negative weight negates the delta.
        settings: ``select_topk`` in (0, 1], default 1; ``lam`` multiplies the result.
        keys: not used, nothing is left to chance.

    Raises:
        MergeError: ``select_topk`` is out of range; NaN or infinity in a delta.

    Source: Wan et al. 2024, arXiv:2408.07990; as mergekit 0.1.5 but for scale: there
    shares are equal when the energies add up to less than 1e-6, as they do for most
    LoRA deltas. And where no entry has any variance (a single delta), all stay.
    """
    del keys
    top = float(settings.get("select_topk", 1.0))
    if not 0.0 < top <= 1.0:
        raise MergeError(f"select_topk {top} is not in (0, 1]")
    lam = float(settings.get("lam", 1.0))
    spread = Spread(deltas, {n: float(weight) for n, weight in enumerate(weights) if weight != 0})
    limit = _limit(spread, top) if top < 1.0 and spread.signed else None
    shares = _shares(spread, limit)

    def rows() -> Iterator[tuple[slice, Tensor]]:
        for place in blocks.places(deltas.shape):
            sides = SignSums(torch.zeros(place.stop - place.start, deltas.shape[1]), normalize=True)
            votes = torch.zeros_like(sides.up)
            for n, block in spread.selected(place, limit):
                votes.add_(block, alpha=spread.sizes[n])
                sides.add(block, shares[n])
            merged = sides.elect(votes).mul_(lam)
            if not blocks.finite(merged):
                blocks.refuse_overflow(deltas, list(spread.signed), place)
            yield place, merged

    return rows


@dataclass(frozen=True, slots=True)
class Spread:
    """The variance of every entry over the deltas, served as blocks of one matrix."""

    deltas: Deltas
    signed: Mapping[int, float]  # weight of each delta present
    count: int = 1

    @property
    def sizes(self) -> dict[int, float]:
        """Weights without sign, the largest 1: equal ones count exactly alike."""
        largest = max((abs(weight) for weight in self.signed.values()), default=1.0)
        return {n: abs(weight) / largest for n, weight in self.signed.items()}

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in)."""
        return self.deltas.shape

    def block(self, index: int, place: slice) -> Tensor:
        """Return rows ``place`` of the variance, (rows, d_in) float32."""
        assert index == 0, "there is one variance"
        mean: Tensor | None = None
        squares: Tensor | None = None
        mass = 0.0
        # Welford: one look at each delta, and equal deltas have a variance of exactly 0.
        for n, size in self.sizes.items():
            step = self._made(n, place)
            mass += size
            if mean is None or squares is None:
                mean, squares = step, torch.zeros_like(step)
                continue
            step.sub_(mean)
            mean.add_(step, alpha=size / mass)
            squares.addcmul_(step, step, value=size * (1.0 - size / mass))
        assert squares is not None, "no delta is present"
        if not blocks.finite(squares):
            blocks.refuse_overflow(self.deltas, list(self.signed), place)
        return squares.div_(mass)

    def selected(self, place: slice, limit: float | None) -> Iterator[tuple[int, Tensor]]:
        """Yield the index and block of each delta, zero where the variance is below ``limit``."""
        stays = None if limit is None else self.block(0, place) >= limit
        for n in self.signed:
            block = self._made(n, place)
            if stays is not None:
                mask(block, stays)
            yield n, block

    def _made(self, n: int, place: slice) -> Tensor:
        block = self.deltas.block(n, place)
        return block if self.signed[n] > 0 else block.neg_()


def _limit(spread: Spread, top: float) -> float:
    """Return the smallest variance that stays."""
    varied = sum(
        int(np.count_nonzero(spread.block(0, place).numpy()))
        for place in blocks.places(spread.shape)
    )
    return kth_largest(spread, 0, [max(1, int(top * varied))])[0]


def _shares(spread: Spread, limit: float | None) -> dict[int, float]:
    """Return each delta's share: its weight times the energy of what was selected, sum 1."""
    sums: dict[int, list[float]] = {n: [] for n in spread.signed}
    for place in blocks.places(spread.shape):
        for n, block in spread.selected(place, limit):
            sums[n] += row_sums(block.square_())
    energies = {n: spread.sizes[n] * math.fsum(rows) for n, rows in sums.items()}
    total = math.fsum(energies.values())
    return {n: energy / total if total else 1.0 for n, energy in energies.items()}
