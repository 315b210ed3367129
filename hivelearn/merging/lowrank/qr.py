"""The reference: thin QR of both factors and an SVD between them, in float64; the tests' truth."""

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.lowrank.factors import TOO_LARGE, Factors, Size, checked


def by_qr(a: Tensor, b: Tensor, scales: Tensor, size: Size) -> Factors:
    """Return the best factors of ``b @ diag(scales) @ a``: (d_out, R), (R,), (R, d_in)."""
    right, lower = torch.linalg.qr(a.double().T)
    left, upper = torch.linalg.qr(b.double())
    made = by_svd((upper * scales.double()) @ lower.T, size)
    return checked(made.a.double() @ right.T, left @ made.b.double(), made.kept, made.total)


def by_svd(matrix: Tensor, size: Size) -> Factors:
    """Return the best factors of a (d_out, d_in) matrix, half of a singular value in each."""
    if not bool(matrix.isfinite().all()):  # with which LAPACK fails without a reason
        raise MergeError(TOO_LARGE)
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    squares, total = values.square(), float(values.square().sum())
    rank = size.of(squares, total)
    roots, kept = values[:rank].sqrt(), float(squares[:rank].sum())
    return checked(roots[:, None] * right[:rank], left[:, :rank] * roots, kept, total)
