"""The exact k-th largest magnitude of a matrix that is never held whole.

A threshold from a sample is not good enough: at 4096² it is 5 % off, and a TIES
merge moves by 15 % with it. So the sample only brackets the answer; one pass over
the matrix counts what lies above the bracket and collects what lies inside, about
one entry in a hundred, and the answer is selected among those. Where the sample
has misled (it never knows, the counts do) or many entries are alike, two passes of
counting over the bits of a float32 find the value whatever it is.

Everything here is deterministic and has fixed memory. Magnitudes are counted in
numpy, on the tensors' own memory: its comparisons are six times faster than torch's.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from hivelearn.merging import blocks
from hivelearn.merging.deltas import Deltas

COLLECT_MAX: Final = 1 << 20  # entries held for selection, 4 MiB; a smaller matrix needs no sample
ROW_STEP: Final = 11  # one row in so many is sampled; odd, to see every place of a head
SAMPLE_STEP: Final = 23  # and one entry in so many of it; odd, to see every column
SHARE_MAX: Final = 0.1  # of all entries in a bracket; beyond, counting bits is faster
_SIGMAS: Final = 3.0  # half a bracket; wider costs more to collect than failing once in 370
_LOW_BITS: Final = 15  # a float32 without its sign has 31 bits: 16 high, then 15 low

Floats: TypeAlias = npt.NDArray[np.float32]


def kth_largest(deltas: Deltas, index: int, ranks: Sequence[int]) -> list[float]:
    """Return for each rank k the k-th largest magnitude of delta ``index``.

    Args:
        deltas: of shape (d_out, d_in).
        index: which of them.
        ranks: each in 1 … d_out · d_in; 1 asks for the largest magnitude.

    Returns:
        Values that occur in the delta, exact: at least k entries are as large
        and fewer than k are larger.

    Raises:
        MergeError: the delta holds NaN or infinity.
    """
    d_out, d_in = deltas.shape
    size = d_out * d_in
    if size <= COLLECT_MAX:
        whole = np.concatenate(list(_magnitudes(deltas, index)))
        return [_select(whole, rank) for rank in ranks]
    brackets = _brackets(_sample(deltas, index), [rank / size for rank in ranks], size)
    if brackets is None:
        return by_bits(deltas, index, ranks)
    above = [0] * len(ranks)
    inside: list[list[Floats]] = [[] for _ in ranks]
    room = COLLECT_MAX
    for block in _magnitudes(deltas, index):
        for n, (low, high) in enumerate(brackets):
            over = block > high
            among = block >= low
            above[n] += int(np.count_nonzero(over))
            np.not_equal(among, over, out=among)
            inside[n].append(block[among])
            room -= len(inside[n][-1])
        if room < 0:  # many entries are alike, as in an adapter that was never trained
            return by_bits(deltas, index, ranks)
    found: list[float] = []
    for rank, before, collected in zip(ranks, above, inside, strict=True):
        candidates = np.concatenate(collected)
        if not before < rank <= before + len(candidates):
            return by_bits(deltas, index, ranks)  # the sample has misled
        found.append(_select(candidates, rank - before))
    return found


def _magnitudes(deltas: Deltas, index: int) -> Iterator[Floats]:
    """Yield the flat magnitudes of one block after another."""
    for place in blocks.places(deltas.shape):
        block = deltas.block(index, place).abs_()
        if not blocks.finite(block):
            blocks.refuse_overflow(deltas, [index], place)
        yield block.numpy().reshape(-1)


def _select(values: Floats, rank: int) -> float:
    """Return the ``rank``-th largest of ``values``."""
    place = len(values) - rank
    return float(np.partition(values, place)[place])


def _sample(deltas: Deltas, index: int) -> Floats:
    """Return (rows, some entries of each) magnitudes, spread evenly over the delta."""
    d_out, d_in = deltas.shape
    step = min(ROW_STEP, max(1, d_out // blocks.ROWS_MIN))
    height = step * max(1, blocks.BLOCK_ELEMENTS // d_in)
    some = []
    for top in range(step // 2, d_out, height):
        block = deltas.block(index, slice(top, min(top + height, d_out), step)).abs_()
        # Flat, so that other columns are seen in every row; a copy, or each holds its block.
        some.append(block.flatten()[::SAMPLE_STEP].numpy().copy())
    sample = np.concatenate(some)
    width = max(1, d_in // SAMPLE_STEP)
    return sample[: len(sample) // width * width].reshape(-1, width)


def _brackets(
    sample: Floats, shares: Sequence[float], size: int
) -> list[tuple[float, float]] | None:
    """Return for each share of all entries two values that likely enclose where it begins.

    None if a bracket so wide is needed that its entries could not be held, or if
    there is but one row to judge by.
    """
    if len(sample) == 1:
        return None
    ordered = np.sort(sample, axis=None)
    count = len(ordered)
    brackets = []
    for share in shares:
        centre = min(count - 1, int(count * (1.0 - share)))
        reached = (sample >= ordered[centre]).mean(axis=1)  # each row's share
        # Neighbours' differences, as for any sample at even steps: a trend over the
        # rows is seen by it in full and is no noise, rows that differ by chance are.
        noise = math.sqrt(float(np.square(np.diff(reached)).mean()) / 2.0 / len(reached))
        margin = _SIGMAS * noise + 4.0 / count
        if 2.0 * margin > min(SHARE_MAX, COLLECT_MAX / size):
            return None
        low, high = (math.floor(centre + count * side) for side in (-margin, margin))
        brackets.append(
            (
                float(ordered[low]) if low >= 0 else 0.0,
                float(ordered[high + 1]) if high + 1 < count else math.inf,
            )
        )
    return brackets


def by_bits(deltas: Deltas, index: int, ranks: Sequence[int]) -> list[float]:
    """Return what :func:`kth_largest` does, by counting: float32 order like their bits."""
    high = np.zeros(1 << (31 - _LOW_BITS), dtype=np.int64)
    for block in _magnitudes(deltas, index):
        high += np.bincount(block.view(np.int32) >> _LOW_BITS, minlength=len(high))
    tops = [_descend(high, rank) for rank in ranks]
    low = np.zeros((len(ranks), 1 << _LOW_BITS), dtype=np.int64)
    for block in _magnitudes(deltas, index):
        bits = block.view(np.int32)
        for n, (top, _) in enumerate(tops):
            within = bits[bits >> _LOW_BITS == top] & ((1 << _LOW_BITS) - 1)
            low[n] += np.bincount(within, minlength=low.shape[1])
    bottoms = [_descend(low[n], left)[0] for n, (_, left) in enumerate(tops)]
    bits = np.array(
        [top << _LOW_BITS | bottom for (top, _), bottom in zip(tops, bottoms, strict=True)],
        dtype=np.int32,
    )
    return [float(value) for value in bits.view(np.float32)]


def _descend(counts: npt.NDArray[np.int64], rank: int) -> tuple[int, int]:
    """Return the bin of the ``rank``-th entry from the top, and its rank inside the bin."""
    above = np.cumsum(counts[::-1])
    step = int(np.searchsorted(above, rank))
    before = int(above[step - 1]) if step else 0
    return len(counts) - 1 - step, rank - before
