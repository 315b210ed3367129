"""Where a LoRA starts: an A that every node can compute, a B of zeros.

If each node draws its own random A, the factors of two patches of one domain
are orthogonal (cosine 0.00, with a shared A 0.38), and a merge of rank r loses.
So A comes from a SHAKE-256 stream keyed by what the patches share, by integer
arithmetic: the same bits on every machine, which ``torch.randn`` does not give.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Final

import torch
from torch import Tensor

_TAG: Final = b"hivelearn/shared-a/1\0"


def shared_a(base: bytes, domain: str, module: str, rank: int, d_in: int) -> Tensor:
    """Return A (rank, d_in) float32, uniform in ±1/√d_in.

    Each value is a 16-bit integer of SHAKE-256(tag ‖ base ‖ domain ‖ module ‖
    rank), little endian, mapped to the odd multiples of 1/65536 in (−1, 1).
    """
    key = b"\0".join((base.hex().encode(), domain.encode(), module.encode(), str(rank).encode()))
    stream = hashlib.shake_256(_TAG + key).digest(2 * rank * d_in)
    integers = torch.frombuffer(bytearray(stream), dtype=torch.uint16).to(torch.int32)
    # Exact in float32 up to the last product, which IEEE rounds the same everywhere.
    unit = (2 * integers - 65_535).to(torch.float32) / 65_536
    return (unit * (1 / math.sqrt(d_in))).view(rank, d_in)


def initial_factors(
    base: bytes, domain: str, shapes: Mapping[str, tuple[int, int]], names: Iterable[str], rank: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the starting (A, B) of each named module."""
    return {
        name: (
            shared_a(base, domain, name, rank, shapes[name][1]),
            torch.zeros(shapes[name][0], rank),
        )
        for name in names
    }
