"""What stays of each delta: everything, the largest, a chance few, all but outliers.

Each function here looks at the deltas once, if it must, and returns a :class:`Selection`:
what happens to a block of rows. The block is changed in place, since a merge is
as fast as the memory it touches. What goes becomes zero by arithmetic that NaN and
infinity survive, so that the end of the merge still sees them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from hivelearn.merging import blocks
from hivelearn.merging.deltas import Deltas, Settings
from hivelearn.merging.errors import MergeError
from hivelearn.merging.methods.kth_largest import kth_largest
from hivelearn.merging.methods.philox import bernoulli

Select = Callable[[int, slice, Tensor], Tensor]  # (index, place, fresh block) -> that block
L1_MIN: Final = 1e-7  # a sum of magnitudes below it is not matched; mergekit's bound


@dataclass(frozen=True, slots=True)
class MergeInputs:
    """What one call merges. A delta of weight 0 is absent: it is never even made."""

    deltas: Deltas
    weights: Tensor  # (n,) float32
    settings: Settings
    keys: Sequence[bytes]

    @property
    def present(self) -> dict[int, float]:
        """Index and weight of the deltas that count."""
        return {n: float(weight) for n, weight in enumerate(self.weights) if weight != 0.0}

    @property
    def size(self) -> int:
        """Entries of one delta."""
        return self.deltas.shape[0] * self.deltas.shape[1]

    @property
    def divides(self) -> bool:
        """Whether what chance has kept is divided by its probability; so unless told otherwise."""
        return self.settings.get("rescale", "probability") == "probability"

    def each(self, name: str) -> list[float]:
        """Return a setting of which every delta has its own, as the decimals it was given in."""
        values = self.settings[name]
        assert isinstance(values, Tensor), f"{name} is one number for each delta"
        # float32(.7) is below .7, but .7 of 10 entries are 7: read the short decimal back.
        return [float(str(value)) for value in values.numpy()]

    def densities(self) -> list[float]:
        """Return each delta's share of entries that stay.

        Raises:
            MergeError: one is outside (0, 1].
        """
        densities = self.each("density")
        for n, density in enumerate(densities):
            if not 0.0 < density <= 1.0:
                raise MergeError(
                    f"has density {density}, which is not in (0, 1]",
                    remedy="To leave a delta out, give it weight 0.",
                    delta=n,
                )
        return densities


@dataclass(frozen=True, slots=True)
class Selection:
    """What stays of a block, and the factor that makes up for what went."""

    select: Select
    gains: Mapping[int, float]  # by index of those present


def largest(inputs: MergeInputs) -> Selection:
    """Keep the ``max(1, int(density · size))`` largest magnitudes, and all equal to the last."""
    limits = {}
    densities = inputs.densities()
    for n in inputs.present:
        count = max(1, int(densities[n] * inputs.size))
        if count < inputs.size:
            limits[n] = _below(kth_largest(inputs.deltas, n, [count])[0])

    def select(index: int, _place: slice, block: Tensor) -> Tensor:
        if index in limits:
            torch.hardshrink(block, limits[index], out=block)
        return block

    return Selection(select, dict.fromkeys(inputs.present, 1.0))


def without_outliers(inputs: MergeInputs) -> Selection:
    """Drop the ``int(gamma · size)`` largest, then keep ``int(density · size)`` as in largest.

    At density 1 everything stays, and outliers stay wherever they are needed to
    reach the density.

    Raises:
        MergeError: a gamma outside [0, 1], or NaN or infinity in a delta.
    """
    limits = {}
    densities, gammas = inputs.densities(), inputs.each("gamma")
    for n in inputs.present:
        if not 0.0 <= gammas[n] <= 1.0:
            raise MergeError(f"has gamma {gammas[n]}, which is not in [0, 1]", delta=n)
        if densities[n] < 1.0:
            count = max(1, int(densities[n] * inputs.size))
            top = min(int(gammas[n] * inputs.size), inputs.size - count)
            high, low = kth_largest(inputs.deltas, n, [top + 1, top + count])
            limits[n] = high, _below(low)

    def select(index: int, _place: slice, block: Tensor) -> Tensor:
        if index in limits:
            high, low = limits[index]
            block.sub_(torch.hardshrink(block, high))  # what is above it, minus itself
            torch.hardshrink(block, low, out=block)
        return block

    return Selection(select, dict.fromkeys(inputs.present, 1.0))


def random(inputs: MergeInputs) -> Selection:
    """Keep each entry with probability ``density``."""
    densities = inputs.densities()

    def select(index: int, place: slice, block: Tensor) -> Tensor:
        if densities[index] < 1.0:
            mask(block, bernoulli(inputs.keys[index], place, block.shape[1], densities[index]))
        return block

    gains = {n: 1.0 / densities[n] if inputs.divides else 1.0 for n in inputs.present}
    return Selection(select, gains)


def ranked(inputs: MergeInputs) -> Selection:
    """Keep each entry with a probability that grows with its rank in its row.

    From the smallest to the largest magnitude of a row it rises evenly from
    ``density - epsilon`` to ``density + epsilon``; of equal magnitudes the later
    column ranks higher. A row of one entry has ``density``.

    Raises:
        MergeError: below density 1, density ± epsilon is not within (0, 1).
    """
    densities, epsilons = inputs.densities(), inputs.each("epsilon")
    rising = {}
    width = inputs.deltas.shape[1]
    for n in inputs.present:
        if densities[n] < 1.0:
            low, high = densities[n] - epsilons[n], densities[n] + epsilons[n]
            if not 0.0 < low <= high < 1.0:
                raise MergeError(
                    f"has density {densities[n]} ± epsilon {epsilons[n]}, which leaves the range "
                    "from 0 to 1",
                    remedy="Choose a smaller epsilon.",
                    delta=n,
                )
            rising[n] = (
                torch.linspace(low, high, width) if width > 1 else torch.tensor([densities[n]])
            )

    def select(index: int, place: slice, block: Tensor) -> Tensor:
        if index in rising:
            probability = torch.empty_like(block)
            order = _columns_by_magnitude(block)
            probability.scatter_(1, order, rising[index].expand_as(block))
            mask(block, bernoulli(inputs.keys[index], place, width, probability))
            if inputs.divides:
                block.div_(probability)
        return block

    return Selection(select, dict.fromkeys(inputs.present, 1.0))


def matching_l1(inputs: MergeInputs, selection: Selection) -> Selection:
    """Let what stays have the sum of magnitudes of the whole delta (mergekit's rescale)."""
    gains = {}
    for n in inputs.present:
        before: list[float] = []
        after: list[float] = []
        for place in blocks.places(inputs.deltas.shape):
            block = inputs.deltas.block(n, place)
            before += row_sums(block)
            after += row_sums(selection.select(n, place, block))
        whole, rest = math.fsum(before), math.fsum(after)
        gains[n] = whole / rest if min(whole, rest) >= L1_MIN else 1.0
    return Selection(selection.select, gains)


def _below(limit: float) -> float:
    """Return the float32 before ``limit``: torch's hardshrink keeps what is *above* its bound."""
    return float(np.nextafter(np.float32(limit), np.float32(0.0)))


def mask(block: Tensor, stays: Tensor) -> None:
    """Multiply a block by a bool of its shape, in place; torch converts it six times slower."""
    values = block.numpy()
    with np.errstate(invalid="ignore"):  # 0 · infinity is NaN, and is found at the end
        np.multiply(values, stays.numpy(), out=values)


def row_sums(block: Tensor) -> list[float]:
    """Return the sum of each row's magnitudes.

    Their exact sum (``math.fsum``) is a total that does not depend on the blocks.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite gain is found at the end
        return [float(total) for total in np.abs(block.numpy()).sum(axis=1)]


def _columns_by_magnitude(block: Tensor) -> Tensor:
    """Return (rows, width) int64: the columns of each row from small to large."""
    bits = np.abs(block.numpy()).view(np.uint32).astype(np.uint64)
    # Magnitude and column in one number: all differ, so that any sort gives the same.
    places = bits << np.uint64(32) | np.arange(block.shape[1], dtype=np.uint64)
    places.sort(axis=1)
    return torch.from_numpy((places & np.uint64(0xFFFFFFFF)).astype(np.int64))
