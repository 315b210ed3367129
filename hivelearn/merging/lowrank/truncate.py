"""The best factors of a matrix that is never formed: of a stack, or of blocks of rows.

A low stack is solved between two Gram matrices, a high one by a sketch; where their checks say
no, by the reference. Results differ between machines by 1e-6, so only inputs are ever signed.
"""

from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.deltas import Rows
from hivelearn.merging.lowrank.factors import Factors, Size, checked
from hivelearn.merging.lowrank.gram import by_gram, squared_norm
from hivelearn.merging.lowrank.qr import by_qr, by_svd
from hivelearn.merging.lowrank.sketch import by_sketch, content_key, cut, dominant, signs, width

LOW: Final = 128  # sum of ranks up to which two Gram matrices are worth what they cost


def truncate(
    a: Tensor, b: Tensor, size: Size, key: str | None = None, *, scales: Tensor | None = None
) -> Factors:
    """Return the best factors of ``b @ diag(scales) @ a``, without forming it.

    Args:
        a, b: (R, d_in) and (d_out, R) of any float type, stacked.
        size: of the result. A stack within its rank is returned as it is, exactly.
        key: names the sketch; by default the content does: who knows all but his own factors
            cannot choose these to lie where it looks least.
        scales: (R,) weights times scales, so that ``b`` keeps its type; default 1.

    Returns:
        Factors whose error is at most 1.01 x the optimum (Eckart and Young), or 1e-6 above it.
        What is said of it is exact up to :data:`LOW` ranks, else an estimate good to 3 %.

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

    They are asked for three times, and none is kept unless the matrix has hardly more than
    ``4 · rank`` rows or columns. The norm that is reported is exact.
    """
    if 2 * width(size.rank) > min(shape):
        return by_svd(torch.cat([block for _, block in rows()]), size)
    total = 0.0

    def trip(directions: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal total
        total, images, back = 0.0, [], torch.zeros_like(directions)
        for _, block in rows():
            total += float(torch.linalg.vector_norm(block, dtype=torch.float64)) ** 2
            images.append(block @ directions)
            back.addmm_(block.T, images[-1])
        return torch.cat(images), back

    start = trip(signs(shape[1], width(size.rank), key))[1]
    found = dominant(start, trip, lambda tail: torch.cat([block @ tail for _, block in rows()]))
    made = cut(*found, size, total=total)
    return checked(made.a, made.b, made.kept, made.total)
