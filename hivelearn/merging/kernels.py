"""Which number type thin products run fastest in on this machine: measured, not looked up.

A CPU with bf16 instructions multiplies bf16 twice as fast as float32; one without
them is a hundred times slower at it, and torch tells the two apart only by private
names. So the first merge of a process times one small product in both.

The choice changes how fast a cut to a rank is and how it is rounded, never whether a
result is within its bounds. Who needs the same bits twice passes the type along.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Final

import torch
from torch import Tensor

_SHAPE: Final = (512, 256, 32)  # rows, inner, columns: 0.1 ms, and 20 ms at bf16's slowest
_GAIN_MIN: Final = 1.25  # a smaller gain is not worth the rounding
_TRIES: Final = 5

Clock = Callable[[], float]


@cache
def product_dtype() -> torch.dtype:
    """Return bfloat16 where its products are clearly faster than float32's, else float32.

    Measures once in a process, a few milliseconds.
    """
    return faster(time.perf_counter)


def faster(clock: Clock) -> torch.dtype:
    """Return the type in which a small product takes less time by ``clock``."""
    rows, inner, columns = _SHAPE
    left, right = torch.ones(rows, inner), torch.ones(inner, columns)
    wide = _fastest(clock, left, right)
    narrow = _fastest(clock, left.bfloat16(), right.bfloat16())
    return torch.bfloat16 if narrow * _GAIN_MIN < wide else torch.float32


def _fastest(clock: Clock, left: Tensor, right: Tensor) -> float:
    """Return the seconds of the fastest of a few products, the first thrown away."""
    torch.mm(left, right)  # compiles a kernel
    best = float("inf")
    for _ in range(_TRIES):
        start = clock()
        torch.mm(left, right)
        best = min(best, clock() - start)
    return best
