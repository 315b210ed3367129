"""A matrix as two thin factors: how many ranks it may have, and what was lost to fit."""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError

TOO_LARGE: Final = "the merged delta overflows float32; some factors are far too large"
NORM_MAX: Final = 3.4e38  # a delta beyond it is infinite in float32
FLOOR: Final = 1e-13  # squared singular values below this share of the first are rounding


@dataclass(frozen=True, slots=True)
class Size:
    """How many ranks a result may have.

    Attributes:
        rank: at most so many.
        energy: share of the squared Frobenius norm that is enough, in (0, 1]. The
            smallest rank that keeps it is taken.
    """

    rank: int
    energy: float = 1.0

    def of(self, squares: Tensor, total: float) -> int:
        """Return the rank for squared singular values, largest first, out of ``total``."""
        enough = int((squares > squares[:1] * FLOOR).sum())
        if self.energy < 1.0:
            enough = min(enough, 1 + int((squares.cumsum(0) < self.energy * total).sum()))
        return min(self.rank, enough)


@dataclass(frozen=True, slots=True)
class Factors:
    """A matrix ``b @ a`` and how far it lies from what it stands for."""

    a: Tensor  # (r, d_in) float32
    b: Tensor  # (d_out, r) float32
    kept: float  # squared Frobenius norm of b @ a
    total: float  # squared Frobenius norm of the matrix that it stands for

    @property
    def error(self) -> float:
        """Relative Frobenius error, from 0 (exact) to 1 (all lost)."""
        return relative_error(self.kept, self.total)


def relative_error(kept: float, total: float) -> float:
    """Return the share of a norm that a projection loses, from the squared norms."""
    # The projection is orthogonal, so the squares subtract; below 1e-3 float32 blurs it.
    return 0.0 if total <= 0.0 else math.sqrt(max(0.0, 1.0 - kept / total))


def decompose(matrix: Tensor, size: Size) -> Factors:
    """Return the optimal factors of a (d_out, d_in) matrix that exists, by its SVD in float64.

    Raises:
        MergeError: it holds NaN or infinity, or overflows float32 as a whole.
    """
    matrix = matrix.double()
    if not bool(matrix.isfinite().all()):
        raise MergeError(TOO_LARGE)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    squares = values.square()
    total = float(squares.sum())
    rank = size.of(squares, total)
    if rank == 0:
        return nothing(*matrix.shape)
    roots = values[:rank].sqrt()
    b, a = left[:, :rank] * roots, roots[:, None] * right[:rank]
    return checked(Factors(a.float(), b.float(), float(squares[:rank].sum()), total))


def nothing(d_out: int, d_in: int) -> Factors:
    """Return a (d_out, d_in) matrix of zeros; an adapter has no rank 0."""
    return Factors(torch.zeros(1, d_in), torch.zeros(d_out, 1), 0.0, 0.0)


def checked(factors: Factors) -> Factors:
    """Refuse a matrix that is infinite once multiplied, though its factors are finite."""
    finite = math.isfinite(float(factors.a.sum()) + float(factors.b.sum()))
    if not (finite and factors.total <= NORM_MAX**2):  # NaN fails this too
        raise MergeError(TOO_LARGE)
    return factors
