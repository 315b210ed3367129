"""The reference: thin QR of both factors and an SVD between them, all in float64.

It is right for every stack, whatever its range and whatever cancels in it, and so the truth
that tests hold the fast ways against. At 4096² and 256 ranks it takes seven times as long.
"""

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.lowrank.factors import TOO_LARGE, Factors, Size, checked


def by_qr(a: Tensor, b: Tensor, scales: Tensor, size: Size) -> Factors:
    """Return the best factors of ``b @ diag(scales) @ a``: (d_out, R), (R,), (R, d_in)."""
    right, lower = torch.linalg.qr(a.double().T)
    left, upper = torch.linalg.qr(b.double())
    made = _cut((upper * scales.double()) @ lower.T, size)
    return checked(made.a @ right.T, left @ made.b, made.kept, made.total)


def by_svd(matrix: Tensor, size: Size) -> Factors:
    """Return the best factors of a (d_out, d_in) matrix that exists."""
    made = _cut(matrix.double(), size)
    return checked(made.a, made.b, made.kept, made.total)


def _cut(core: Tensor, size: Size) -> Factors:
    """Return factors in float64, half of a singular value on each side."""
    if not bool(core.isfinite().all()):  # with which LAPACK fails without a reason
        raise MergeError(TOO_LARGE)
    left, values, right = torch.linalg.svd(core, full_matrices=False)
    squares, total = values.square(), float(values.square().sum())
    rank = size.of(squares, total)
    roots = values[:rank].sqrt()
    kept = float(squares[:rank].sum())
    return Factors(roots[:, None] * right[:rank], left[:, :rank] * roots, kept, total)
