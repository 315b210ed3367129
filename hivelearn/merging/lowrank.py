"""The best rank-r factors of a matrix that is never formed.

Two shapes of matrix occur: a stack of factors (B · A with many columns) and a
matrix that only exists as blocks of rows, made anew whenever asked for. Both
end in a small dense core whose singular values are exact in float64.

The sketches are ±1 matrices from a SHAKE-256 stream keyed by what is being
merged, so that no global random state is read and any machine draws the same.
The bytes of a QR still differ between machines and thread counts (1e-6), which
is why inputs and recipe are signed and merged weights never are.

Source: Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1, arXiv:0909.4061.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.plan import MergeError

CORE_MAX: Final = 256  # up to this side the core is exact; a sketch is cheaper beyond
_OVERSAMPLE: Final = 16
_POWERS: Final = 2  # one leaves 1.011 x the optimal error on independent adapters, two 1.002
_SWEEPS: Final = 3  # for rows made anew: each sweep costs one pass over them
NORM_MAX: Final = 3.4e38  # a delta beyond it is infinite in float32
TOO_LARGE: Final = "the merged delta overflows float32; some factors are far too large"

Rows = Callable[[], Iterator[tuple[slice, Tensor]]]  # blocks of (rows, d_in) with their place


@dataclass(frozen=True, slots=True)
class Factors:
    """A rank-r matrix ``b @ a`` and how far it lies from what it stands for."""

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


def signs(rows: int, columns: int, key: str) -> Tensor:
    """Return the (rows, columns) float32 matrix of ±1 that ``key`` names."""
    count = rows * columns
    stream = hashlib.shake_256(f"hivelearn/sketch/1|{rows}x{columns}|{key}".encode())
    data = torch.frombuffer(bytearray(stream.digest((count + 7) // 8)), dtype=torch.uint8)
    bits = (data[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return bits.flatten()[:count].view(rows, columns).float() * 2 - 1


def truncate(a: Tensor, b: Tensor, rank: int, key: str) -> Factors:
    """Return the best rank-``rank`` factors of ``b @ a``, without forming it.

    Up to rank R the stack itself is returned, padded with zeros, and is exact.

    Args:
        a: (R, d_in) float32, stacked.
        b: (d_out, R) float32, stacked, scales and weights folded in.
        rank: of the result.
        key: names the sketch.

    Returns:
        Factors whose error is within 1 % of the optimum (Eckart and Young).

    Raises:
        MergeError: the product overflows float32.
    """
    if a.shape[0] <= rank:
        return _stacked(a, b, rank)
    if max(min(a.shape), min(b.shape)) <= CORE_MAX:
        left, upper = torch.linalg.qr(b)  # (d_out, m), (m, R)
        right, lower = torch.linalg.qr(a.T)  # (d_in, k), (k, R)
        core = upper.double() @ lower.T.double()  # (m, k)
        return _split(left, core, right, rank, total=None)
    columns = min(rank + _OVERSAMPLE, *a.shape, *b.shape)
    basis = _orthonormal(b @ (a @ signs(a.shape[1], columns, key)))  # (d_out, columns)
    for _ in range(_POWERS):
        basis = _orthonormal(b @ (a @ _orthonormal(a.T @ (b.T @ basis))))
    right, lower = torch.linalg.qr(a.T @ (b.T @ basis))  # (d_in, columns), (columns, columns)
    return _split(basis, lower.T.double(), right, rank, total=squared_norm(a, b))


def truncate_rows(rows: Rows, shape: tuple[int, int], rank: int, key: str) -> Factors:
    """Return rank-``rank`` factors of a matrix that comes as blocks of rows.

    The blocks are asked for four times. Only one of them, and matrices with
    ``rank + 16`` rows or columns, are in memory at once.

    Args:
        rows: yields every block of rows once, in order, the same at every call.
        shape: (d_out, d_in) of the whole.
        rank: of the result.
        key: names the sketch.

    Raises:
        MergeError: the matrix overflows float32.
    """
    d_out, d_in = shape
    basis = signs(d_in, min(rank + _OVERSAMPLE, d_out, d_in), key)
    for _ in range(_SWEEPS):
        image = torch.zeros_like(basis)
        for _place, block in rows():
            image += block.T @ (block @ basis)
        basis = _orthonormal(image)  # (d_in, columns)
    left = torch.empty(d_out, basis.shape[1])
    total = 0.0
    for place, block in rows():
        left[place] = block @ basis
        total += float(block.double().square().sum())
    left, upper = torch.linalg.qr(left)
    return _split(left, upper.double(), basis, rank, total=total)


def squared_norm(a: Tensor, b: Tensor) -> float:
    """Return ‖b @ a‖² of (R, d_in) and (d_out, R), by the R x R Grams, in float64."""
    a, b = a.double(), b.double()
    return float(((a @ a.T) * (b.T @ b)).sum().clamp_min(0.0))  # NaN stays NaN


def _stacked(a: Tensor, b: Tensor, rank: int) -> Factors:
    padding = rank - a.shape[0]
    a = torch.cat([a, a.new_zeros(padding, a.shape[1])])
    b = torch.cat([b, b.new_zeros(b.shape[0], padding)], dim=1)
    norm = squared_norm(a, b)
    return _checked(Factors(a, b, norm, norm))


def _checked(factors: Factors) -> Factors:
    """Refuse a matrix that is infinite once multiplied, though its factors are finite."""
    if not factors.total <= NORM_MAX**2:  # NaN fails this too
        raise MergeError(TOO_LARGE)
    return factors


def _orthonormal(columns: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(columns)[0]
    return basis


def _split(left: Tensor, core: Tensor, right: Tensor, rank: int, *, total: float | None) -> Factors:
    """Factor ``left @ core @ right.T`` by the SVD of ``core``, half a singular value each side."""
    if not bool(core.isfinite().all()):  # the SVD would fail without a reason
        raise MergeError(TOO_LARGE)
    u, values, vt = torch.linalg.svd(core, full_matrices=False)
    squares = values.square()
    everything = float(squares.sum())
    roots = values[:rank].sqrt()
    b = left @ (u[:, :rank] * roots).float()  # (d_out, <= rank)
    a = (roots[:, None] * vt[:rank]).float() @ right.T
    short = rank - a.shape[0]  # the matrix has fewer than `rank` dimensions at all
    a = torch.cat([a, a.new_zeros(short, a.shape[1])])
    b = torch.cat([b, b.new_zeros(b.shape[0], short)], dim=1)
    kept = float(squares[:rank].sum())
    return _checked(Factors(a, b, kept, everything if total is None else total))
