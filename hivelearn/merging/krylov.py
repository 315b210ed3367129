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
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.factors import TOO_LARGE

_FLOOR: Final = {torch.float32: 1e-13, torch.bfloat16: 1e-8}  # of squares: below is rounding
_NULL: Final = {torch.float64: 1e-15, torch.float32: 1e-6}  # the same where those are exact

# (directions (k, d_in), whether to come back) -> Δ times them (d_out, k), Δᵀ times that (k, d_in)
Images = Callable[[Tensor, bool], tuple[Tensor, Tensor]]


def width(rank: int) -> int:
    """Return how many directions a block needs to find ``rank`` of them."""
    return -(-max(2 * rank, rank + 16) // 16) * 16  # kernels like multiples of 16


def named(*tensors: Tensor) -> str:
    """Return a key that follows from all the bytes of these tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
        digest.update(tensor.contiguous().view(bits).numpy().data)
    return digest.hexdigest()


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
    tail = _beside(back, head.float(), dtype).to(dtype)
    second, _ = images(tail, False)  # noqa: FBT003
    return torch.cat([head, tail]).float(), torch.cat([first, second], dim=1)


def spectrum(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (k,) and vectors (k, k) of a Gram matrix, largest first.

    Raises:
        MergeError: it holds NaN or infinity, with which LAPACK fails without a reason.
    """
    if not bool(gram.isfinite().all()):
        raise MergeError(TOO_LARGE)
    values, vectors = torch.linalg.eigh(gram)
    return values.flip(0).clamp_min(0.0), vectors.flip(1)


def leading(of_a: Tensor, of_b: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest squared singular values of ``B A`` and their left vectors.

    Args:
        of_a: ``A Aᵀ``, (R, R) float32 or float64.
        of_b: ``Bᵀ B``, the same type.
        count: how many must be good.

    Returns:
        (k,) and (k, R), k at least ``count`` if the matrix has as many, largest first.
        Rows times ``Bᵀ`` are left vectors times singular values, orthogonal. All of a small
        matrix, else those of two Krylov blocks: Rayleigh quotients. The start is the same
        for every stack of R rows, and one who chooses nearly all rows can hide from it: what
        is found is then less than the most, and what is said of it still true.

    Raises:
        MergeError: it holds NaN or infinity.
    """
    # Rows y with y·A orthonormal; images x = y·A·Aᵀ, so that x·Bᵀ is Δ times them.
    if len(of_a) <= 4 * width(count):
        images = _root(of_a).T
    else:
        start = signs(width(count), len(of_a), "leading", of_a.dtype)
        first = _plainly_orthonormal(start @ of_b)
        rows = _plainly_orthonormal(torch.cat([first, first @ of_a @ of_b]))
        images = rows @ of_a
        images = _whitened(rows @ images.T, images)
    values, turn = spectrum(images @ of_b @ images.T)
    strong = turn[:, : width(count)].T
    return values[: len(strong)], strong @ images


def _root(gram: Tensor) -> Tensor:
    """Return L with ``L Lᵀ = gram``: Cholesky's, or from eigenvectors if rows are dependent."""
    lower: Tensor
    lower, failed = torch.linalg.cholesky_ex(gram)
    if not failed and bool(lower.sum().isfinite()):
        return lower
    values, vectors = spectrum(gram)
    return vectors * values.sqrt()


def _whitened(gram: Tensor, images: Tensor) -> Tensor:
    """Return the images of the mixtures of rows that are orthonormal, given the rows' Gram."""
    lower, failed = torch.linalg.cholesky_ex(gram)
    ends, null = lower.diagonal(), _NULL[gram.dtype]
    if not failed and bool(ends.min() > null**0.5 * ends.max()):
        solved: Tensor = torch.linalg.solve_triangular(lower, images, upper=False)
        return solved
    return whitening(*spectrum(gram), null).T @ images  # rows that depend on each other


def _plainly_orthonormal(rows: Tensor) -> Tensor:
    """Return rows with the same span by Householder's method: weak directions survive."""
    columns: Tensor = torch.linalg.qr(rows.T)[0]
    return columns.T


def whitening(values: Tensor, vectors: Tensor, floor: float) -> Tensor:
    """Return (k, ≤ k) float64, what makes vectors with that spectrum of a Gram orthonormal.

    The strongest come first; those whose square is below ``floor`` of it are left out.
    """
    strong = values > values[:1] * floor  # of no values, none
    return vectors[:, strong] / values[strong].sqrt()


def _orthonormal(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (≤ k, d) float32 orthonormal rows that span ``rows``, the strongest first."""
    # Each close to a singular vector: mixed rows would be rounded relative to the largest.
    wide = rows.double()
    turn = whitening(*spectrum(wide @ wide.T), _FLOOR[dtype]).T
    return (turn @ wide).float() if dtype == torch.float32 else turn.float() @ rows.float()


def _beside(rows: Tensor, head: Tensor, dtype: torch.dtype) -> Tensor:
    """Return orthonormal rows that span what of ``rows`` is not in the span of ``head``."""
    rows = rows.float()
    tiny = torch.finfo(torch.float32).tiny
    rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(tiny)
    for _ in range(2):  # of a direction that has converged, once leaves more error than rest
        rows = _orthonormal(rows - (rows @ head.T) @ head, dtype)
    return rows
