"""The best factors of a low stack, solved between two Gram matrices in float64.

Squares hide what is below 1e-8 of their terms; where so much cancels, nothing is returned.
"""

from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.lowrank.factors import TOO_LARGE, Factors, Size, checked, halved

_UNIT: Final = 2.0**-52  # of float64: what inner products are off by, of their rows' lengths
_HARMLESS: Final = 1e-3  # share of the squared error that this may be
_FAINT: Final = 1e-12  # share of the whole: float32 factors are rounded by as much in any case
_WIDTH: Final = 512  # columns in float64 at once: with 256 ranks they fit into a cache
_PANEL: Final = 64  # rows of a Gram matrix at once, no further than the diagonal


def by_gram(a: Tensor, b: Tensor, scales: Tensor, size: Size) -> Factors | None:
    """Return the best factors of ``b @ diag(scales) @ a``; None where float64 may not do."""
    of_a = inner_products(a)
    lengths = halved(of_a.diagonal()) ** 2
    weights = scales.double() * lengths  # a term may hide a large factor behind a small one
    of_b = weights[:, None] * inner_products(b.T) * weights
    of_a = of_a / lengths[:, None] / lengths
    lower, dependent = torch.linalg.cholesky_ex(of_a)  # any L with L Lᵀ = A Aᵀ does
    if dependent:
        squares, turn = spectrum(of_a)
        lower = turn * squares.sqrt()
    back = lower.T @ of_b
    squares, turn = spectrum(back @ lower)
    total = float(squares.sum())
    rank = size.of(squares, total)
    kept, lost = float(squares[:rank].sum()), float(squares[rank:].sum())
    off = _UNIT * float(of_b.diagonal().sqrt().sum()) ** 2
    if not off <= max(_HARMLESS * lost, _FAINT * total):
        return None
    turn, roots = turn[:, :rank], halved(squares[:rank])
    to_b = weights[:, None] * (lower @ turn) / roots  # B times it: left vectors times √σ
    to_a = (turn.T @ back) / lengths / roots[:, None] ** 3  # those vectors times Δ, over √σ
    return checked(_mixed(to_a, a), _mixed(to_b.T, b.T).T, kept, total)


def squared_norm(a: Tensor, b: Tensor, scales: Tensor) -> float:
    """Return the squared norm of ``b @ diag(scales) @ a``."""
    products, scales = inner_products(a) * inner_products(b.T), scales.double()
    return float((scales @ products @ scales).clamp_min(0.0))


def inner_products(rows: Tensor) -> Tensor:
    """Return ``rows @ rows.T``, (R, R) float64, of (R, d) rows of any float type."""
    made = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for start in range(0, rows.shape[1], _WIDTH):
        block = rows[:, start : start + _WIDTH].T.contiguous().double().T  # a quarter faster
        for top in range(0, len(rows), _PANEL):
            rest, upto = slice(top, top + _PANEL), slice(top + _PANEL)
            made[rest, upto].addmm_(block[rest], block[upto].T)
    return made.tril() + made.tril(-1).T


def spectrum(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (k,) and vectors (k, k) of a Gram matrix, largest first."""
    if not bool(gram.isfinite().all()):  # with which LAPACK fails without a reason
        raise MergeError(TOO_LARGE)
    values, vectors = torch.linalg.eigh(gram)
    return values.flip(0).clamp_min(0.0), vectors.flip(1)


def _mixed(mixture: Tensor, rows: Tensor) -> Tensor:
    """Return ``mixture @ rows``, summed in float64 because terms may cancel."""
    blocks = torch.split(rows, _WIDTH, dim=1)
    return torch.cat([(mixture @ block.double()).float() for block in blocks], dim=1)
