"""How what stayed is put together: the weighted sum, or the elected sign of TIES.

Blocks are taken one delta at a time and added into a few running totals, so that
memory does not grow with the number of deltas.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from torch import Tensor

Piece: TypeAlias = tuple[Tensor, float, float]  # (rows, d_in) to spoil, weight > 0, gain
Combine = Callable[[Iterable[Piece], Tensor, bool], Tensor]  # (pieces, zeros, normalize) -> merged


def weighted_sum(pieces: Iterable[Piece], zeros: Tensor, normalize: bool) -> Tensor:  # noqa: FBT001
    """Add up what stayed; ``normalize`` divides by the sum of the weights."""
    total, mass = zeros, 0.0
    for block, weight, gain in pieces:
        total.add_(block, alpha=weight * gain)
        mass += weight
    return total.div_(mass) if normalize and mass else total


def elected_sign(pieces: Iterable[Piece], zeros: Tensor, normalize: bool) -> Tensor:  # noqa: FBT001
    """Add up the side, plus or minus, whose sum is larger; plus if they are equal.

    ``normalize`` divides each entry by the weights on that side.
    """
    sums = SignSums(zeros, normalize=normalize)
    for block, weight, gain in pieces:
        sums.add(block, weight, gain)
    return sums.elect(sums.up + sums.down)


class SignSums:
    """What is above and below zero, added up apart, and the weights that spoke for each."""

    def __init__(self, zeros: Tensor, *, normalize: bool) -> None:
        self.up, self.down = zeros, torch.zeros_like(zeros)
        masses = (torch.zeros_like(zeros), torch.zeros_like(zeros))
        self._masses = masses if normalize else None

    def add(self, block: Tensor, weight: float, gain: float = 1.0) -> None:
        """Add one delta's block, which is spoilt; zeros take no side."""
        above, below = block.clamp_min(0.0), block.clamp_max_(0.0)  # NaN stays in both
        self.up.add_(above, alpha=weight * gain)
        self.down.add_(below, alpha=weight * gain)
        if self._masses is not None:
            for mass, part in zip(self._masses, (above, below), strict=True):
                mass.add_(part.sign_(), alpha=weight)

    def elect(self, votes: Tensor) -> Tensor:
        """Return the upper side where ``votes`` are not negative, else the lower one."""
        # 1 or 0 as float: lerp by it is exact, and eight times faster than a branch on bool.
        plus = torch.ge(votes, 0.0, out=torch.empty_like(votes))
        chosen = torch.lerp(self.down, self.up, plus)
        if self._masses is not None:
            up_mass, down_mass = self._masses
            mass = torch.lerp(down_mass, up_mass, plus).abs_()
            chosen.div_(mass.clamp_min_(torch.finfo(mass.dtype).tiny))  # nobody: 0 / tiny
        return chosen
