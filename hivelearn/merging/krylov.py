"""The dominant rows of a matrix of which only products are known.

Two blocks of a Krylov space: directions that a random start has been drawn to,
and beside them what one more product with ``ΔᵀΔ`` adds. Together they are worth
more than two powers of one block and cost less. With blocks twice as wide as the
wanted rank the error stayed below 1.006 x the optimum on every spectrum tried,
flat, stepped or falling; a single block after one power left 1.02.

Directions lie as rows, since that is how A lies.

Source: Musco and Musco 2015, algorithm 2, arXiv:1504.05477.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.factors import TOO_LARGE

PROBES: Final = 16  # directions that only measure: how much was lost, and how bf16 rounds
_FLOOR: Final = {torch.float32: 1e-13, torch.bfloat16: 1e-8}  # of squares: below is rounding
_START_FLOOR: Final = {torch.float32: 1e-13, torch.bfloat16: 1e-6}

# (directions (k, d_in), whether to come back) -> Δ times them (d_out, k), Δᵀ times that (k, d_in)
Images = Callable[[Tensor, bool], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Stack:
    """The matrix ``b @ diag(scales) @ a``, for its products with a few directions."""

    a: Tensor  # (R, d_in) in ``dtype``
    b: Tensor  # (d_out, R) in ``dtype``
    scales: Tensor  # (R,) float32
    dtype: torch.dtype  # float32 or bfloat16

    def inner(self, directions: Tensor) -> Tensor:
        """Return (R, k) float32, the half of the product that lies between b and a."""
        return (self.a @ directions.T).float() * self.scales[:, None]

    def outer(self, inner: Tensor) -> Tensor:
        """Return (d_out, k), the other half."""
        return self.b @ inner.to(self.dtype)

    def back(self, image: Tensor) -> Tensor:
        """Return (k, d_in), the transposed matrix times (d_out, k)."""
        return ((image.T @ self.b).float() * self.scales).to(self.dtype) @ self.a

    def images(self, directions: Tensor, come_back: bool) -> tuple[Tensor, Tensor]:  # noqa: FBT001
        """Multiply as :data:`Images` says."""
        image = self.outer(self.inner(directions))
        return image, self.back(image) if come_back else image


@dataclass(frozen=True, slots=True)
class Found:
    """What is large in a matrix, and what measuring along the way told."""

    directions: Tensor  # (k, d_in) float32, orthonormal rows
    image: Tensor  # (d_out, k), the matrix times them, divided by ``unit``
    unit: float
    missed: float  # estimate of the squared norm that the directions do not hold, / unit²
    loose: float  # squared norm if all rank-1 terms stood at right angles, / unit²


def width(rank: int) -> int:
    """Return how many directions a block needs to find ``rank`` of them."""
    return -(-max(2 * rank, rank + 16) // 16) * 16  # kernels like multiples of 16


def signs(rows: int, columns: int, key: str, dtype: torch.dtype) -> Tensor:
    """Return the (rows, columns) matrix of ±1 that ``key`` names, in a float type.

    Of a SHAKE-256 stream: any machine draws the same, and no global state is read.
    """
    return _signs(rows, columns, key).to(dtype)


@lru_cache(maxsize=8)  # a model has few widths, and 1 ms of hashing for each module adds up
def _signs(rows: int, columns: int, key: str) -> Tensor:
    """Return the same in int8, a quarter of the memory; never handed out, never changed."""
    count = rows * columns
    stream = hashlib.shake_256(f"hivelearn/sketch/2|{rows}x{columns}|{key}".encode())
    data = torch.frombuffer(bytearray(stream.digest((count + 7) // 8)), dtype=torch.uint8)
    bits = (data[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return (bits.flatten()[:count].view(rows, columns).to(torch.int8) << 1) - 1


def explore(stack: Stack, rank: int, key: str) -> Found | None:
    """Return what is large in ``stack``, enough for its best ``rank``; None if it is zero.

    Raises:
        MergeError: the matrix overflows float32.
    """
    block = width(rank)
    drawn = signs(block + PROBES, stack.a.shape[1], key, stack.dtype)
    inner = stack.inner(drawn)
    # With random signs the rank-1 terms add up as if they were at right angles.
    flipped = inner[:, :PROBES] * signs(inner.shape[0], PROBES, f"{key}|flips", torch.float32)
    image = stack.outer(torch.cat([inner, flipped], dim=1))
    peak = max(abs(float(end)) for end in image.aminmax())
    if not peak <= torch.finfo(torch.float32).max:  # NaN fails this too
        raise MergeError(TOO_LARGE)
    if peak < torch.finfo(torch.float32).tiny:
        return None
    stack, image = replace(stack, scales=stack.scales / peak), image / peak
    probed, loose = image[:, block : block + PROBES], image[:, block + PROBES :]
    # Balanced first: of raw columns bf16 would see the largest singular value alone.
    directions, found = dominant(stack.back(_balanced(image[:, :block])), stack.images, stack.dtype)
    expected = (directions @ drawn[block:].float().T).to(stack.dtype)  # (k, PROBES)
    missed = (probed - found @ expected).float()
    return Found(
        directions,
        found,
        peak,
        float(missed.square().sum()) / PROBES,
        float(loose.float().square().sum()) / PROBES,
    )


def dominant(start: Tensor, images: Images, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return directions that hold what is large in Δ, and their images.

    Args:
        start: (k, d_in), rows of Δ mixed at random.
        images: the products, for directions in ``dtype``.
        dtype: float32 or bfloat16.

    Returns:
        (≤ 2k, d_in) float32, orthonormal rows; (d_out, ≤ 2k) in ``dtype``, Δ times them.

    Raises:
        MergeError: Δ overflows.
    """
    head = _orthonormal(start, dtype).to(dtype)
    first, back = images(head, True)  # noqa: FBT003 - see Images
    tail = _orthonormal(_beside(back, head.float()), dtype).to(dtype)
    second, _ = images(tail, False)  # noqa: FBT003
    return torch.cat([head, tail]).float(), torch.cat([first, second], dim=1)


def spectrum(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (k,) and vectors (k, k) of a float64 Gram matrix, largest first.

    Raises:
        MergeError: it holds NaN or infinity, with which LAPACK fails without a reason.
    """
    if not bool(gram.isfinite().all()):
        raise MergeError(TOO_LARGE)
    values, vectors = torch.linalg.eigh(gram)
    return values.flip(0).clamp_min(0.0), vectors.flip(1)


def _balanced(image: Tensor) -> Tensor:
    """Return columns in the type of ``image`` that span it and are nearly orthonormal."""
    wide = image.double() if image.dtype == torch.float32 else image.float()
    turn = _turn(wide.T @ wide, _START_FLOOR[image.dtype])
    return image @ turn.to(image.dtype)


def _orthonormal(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (≤ k, d) float32 orthonormal rows that span ``rows``, the strongest first."""
    # Each close to a singular vector: mixed rows would be rounded relative to the largest.
    wide = rows.double()
    turn = _turn(wide @ wide.T, _FLOOR[dtype]).T
    return (turn @ wide).float() if dtype == torch.float32 else turn.float() @ rows.float()


def _turn(gram: Tensor, floor: float) -> Tensor:
    """Return (k, ≤ k) float64, what makes vectors with that Gram matrix orthonormal.

    The strongest come first; what is weaker than rounding is left out.
    """
    values, vectors = spectrum(gram.double())
    strong = values > values[0] * floor
    return vectors[:, strong] / values[strong].sqrt()


def _beside(rows: Tensor, head: Tensor) -> Tensor:
    """Return what of each row, at length 1, is not in the span of the orthonormal ``head``."""
    rows = rows.float()
    tiny = torch.finfo(torch.float32).tiny
    rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(tiny)
    for _ in range(2):  # of a direction that has converged, once leaves more error than rest
        rows = rows - (rows @ head.T) @ head
    return rows
