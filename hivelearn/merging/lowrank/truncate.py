"""The best factors of a matrix that is never formed.

Two shapes of matrix occur: a stack of factors (B · A with many columns) and a matrix that
only exists as blocks of rows, made anew whenever asked for. A low stack is solved between
two Gram matrices, a high one and rows by a sketch; where a check says no, the reference
does it. The bytes of a result differ between machines and thread counts (1e-6), which is
why inputs and recipe are signed and merged weights never are.
"""

from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.lowrank.factors import Factors, Size, checked
from hivelearn.merging.lowrank.gram import by_gram, squared_norm
from hivelearn.merging.lowrank.qr import by_qr, by_svd
from hivelearn.merging.lowrank.sketch import by_sketch, content_key, cut, dominant, signs, width
from hivelearn.merging.parts import Rows

LOW: Final = 256  # sum of ranks up to which two Gram matrices are worth what they cost


def truncate(
    a: Tensor, b: Tensor, size: Size, key: str | None = None, *, scales: Tensor | None = None
) -> Factors:
    """Return the best factors of ``b @ diag(scales) @ a``, without forming it.

    Args:
        a: (R, d_in) of any float type, stacked.
        b: (d_out, R), stacked.
        size: of the result. A stack within its rank is returned as it is, exactly.
        key: names the sketch; by default the content does, so that who knows everything but
            his own factors cannot choose these to lie where the sketch looks least.
        scales: (R,) weights times scales, so that ``b`` keeps its type; default 1.

    Returns:
        Factors whose error is at most 1.01 x the optimum (Eckart and Young), or 1e-6 above it.
        What is said of it is exact up to :data:`LOW` ranks, else an estimate good to 1 or 2 %.

    Raises:
        MergeError: the product overflows float32.
    """
    count, shorter, block = a.shape[0], min(b.shape[0], a.shape[1]), width(size.rank)
    scales = torch.ones(count) if scales is None else scales.float()
    if count <= size.rank and size.energy >= 1.0:
        norm = squared_norm(a, b, scales)
        return checked(a, b.float() * scales, norm, norm)
    made = None
    if count > max(LOW, 3 * block) and 2 * block <= shorter and size.energy >= 1.0:
        made = by_sketch(a, b, scales, size, content_key(a) if key is None else key)
    if made is None and count <= shorter:
        made = by_gram(a, b, scales, size)
    return by_qr(a, b, scales, size) if made is None else made


def truncate_rows(rows: Rows, shape: tuple[int, int], size: Size, key: str = "") -> Factors:
    """Return the best factors of a (d_out, d_in) matrix that comes as blocks of rows, in order.

    The blocks are asked for three times. One of them and matrices of some ``4 · rank`` rows or
    columns are in memory at once; where these would be no smaller than the matrix, it is kept
    whole and solved exactly. ``key`` names the sketch; the squared norm is always exact.
    """
    if 2 * width(size.rank) > min(shape):
        return by_svd(torch.cat([block for _, block in rows()]), size)
    total = 0.0

    def forward(directions: Tensor) -> Tensor:
        return torch.cat([block @ directions for _, block in rows()])

    def trip(directions: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal total
        total, images, back = 0.0, [], torch.zeros_like(directions)
        for _, block in rows():
            total += float(torch.linalg.vector_norm(block, dtype=torch.float64)) ** 2
            images.append(block @ directions)
            back.addmm_(block.T, images[-1])
        return torch.cat(images), back

    _, start = trip(signs(shape[1], width(size.rank), key))
    made = cut(*dominant(start, trip, forward), size, total=total)
    return checked(made.a, made.b, made.kept, made.total)
