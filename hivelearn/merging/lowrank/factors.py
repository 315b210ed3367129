"""A matrix as two thin factors: how many ranks it may have, and what was lost to fit."""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError

TOO_LARGE: Final = "the merged delta overflows float32; some factors are far too large"
FLOOR: Final = 1e-13  # squared singular values below this share of the first are rounding
_NORM_MAX: Final = 3.4e38  # a delta beyond it is infinite in float32


@dataclass(frozen=True, slots=True)
class Size:
    """The fewest ranks that keep ``energy``, a share of the squared norm; at most ``rank``."""

    rank: int  # at least 1
    energy: float = 1.0  # in (0, 1]

    def of(self, squares: Tensor, total: float) -> int:
        """Return the rank for squared singular values, largest first, out of ``total``."""
        enough = int((squares > squares[:1] * FLOOR).sum())
        if self.energy < 1.0:
            enough = min(enough, 1 + int((squares.cumsum(0) < self.energy * total).sum()))
        return max(1, min(self.rank, enough))  # an adapter has no rank 0: zero is of rank 1


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
    return 0.0 if total <= 0.0 else math.sqrt(max(0.0, 1.0 - kept / total))


def nothing(d_out: int, d_in: int) -> Factors:
    """Return a (d_out, d_in) matrix of zeros."""
    return Factors(torch.zeros(1, d_in), torch.zeros(d_out, 1), 0.0, 0.0)


def halved(squares: Tensor) -> Tensor:
    """Return the roots of singular values, for a share in either factor; 1 for those of zero."""
    return torch.where(squares > 0, squares.pow(0.25), 1.0)


def checked(a: Tensor, b: Tensor, kept: float, total: float) -> Factors:
    """Return factors in float32; refuse a matrix that is infinite once they are multiplied."""
    a, b = a.float().contiguous(), b.float().contiguous()
    finite = math.isfinite(float(a.sum()) + float(b.sum()))
    if not (finite and total <= _NORM_MAX**2):  # NaN fails this too
        raise MergeError(TOO_LARGE)
    return Factors(a, b, kept, total)
