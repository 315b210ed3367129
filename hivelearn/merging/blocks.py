"""Blocks of rows: how tall they are, and that nothing in them is NaN or infinite.

A layer is walked in the same blocks by every pass over it. Heights matter for
speed (a few blocks should fit a core's cache) and for exactness: a BLAS rounds
a product of very few rows by another path, and an entry that differs in its last
bit between the pass that finds a threshold and the pass that applies it would be
on the wrong side of its own magnitude.
"""

import itertools
import math
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.deltas import Deltas
from hivelearn.merging.errors import MergeError

BLOCK_ELEMENTS: Final = 1 << 17  # 512 KiB of float32; 2**16 … 2**19 measured within 10 %
ROWS_MIN: Final = 8  # MKL takes another path below 4 rows


def places(shape: tuple[int, int]) -> list[slice]:
    """Return the blocks of a (d_out, d_in) matrix from top to bottom."""
    d_out, d_in = shape
    height = max(ROWS_MIN, BLOCK_ELEMENTS // max(1, d_in))
    cuts = [*range(0, d_out, height), d_out]
    if len(cuts) > 2 and d_out - cuts[-2] < ROWS_MIN:  # noqa: PLR2004 - two cuts are one block
        del cuts[-2]  # a last block of a few rows joins the one before it
    return [slice(top, end) for top, end in itertools.pairwise(cuts)]


def finite(block: Tensor) -> bool:
    """Return whether no entry is NaN or infinite."""
    # The sum shows it at a tenth of the cost; only it overflowing needs a closer look.
    return math.isfinite(float(block.sum(dtype=torch.float32))) or bool(block.isfinite().all())


def refuse_overflow(deltas: Deltas, indices: list[int], place: slice) -> None:
    """Raise the error that names which delta is not finite in ``place``.

    Raises:
        MergeError: always; called once something was found.
    """
    broken = [n for n in indices if not finite(deltas.block(n, place))]
    who = "" if broken else "the merged delta "
    raise MergeError(
        f"{who}is not finite in float32 in rows {place.start} to {place.stop}",
        remedy="Leave out the adapter, or scale its factors down.",
        delta=broken[0] if broken else None,
    )
