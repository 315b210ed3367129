"""Inner products of a stack's rows of A and columns of B, as right as they need to be.

They are what an exact cut costs, so they are made in the cheapest type first, and of a
symmetric matrix only the half below its diagonal is made. A CPU with bf16 instructions
multiplies bf16 exactly, sums in float32 and rounds the sum to 8 bits. The same product
again, the rounded one subtracted before it is rounded in turn, gives 8 bits more, both
together in a third of float32's time. How far rounding can have moved anything is bounded
by the same Gram matrices, entry by entry.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.kernels import product_dtype

_QUICK: Final = 1 << 24  # multiplications of a Gram matrix that float64 does in no time
_BLOCK: Final = 64  # rows made at once: 256 of them cost 5/8 of the whole square
_ONCE: Final = 2.0**-8  # of an entry: what one rounding to 8 bits is off
_TWICE: Final = 2.0**-16  # what it is off together with the rest, rounded too
_SUMMED: Final = 2e-6  # of two rows' lengths, a sum in float32 of numbers at random
_STEADY: Final = 4e-9  # for each number summed, if all are rounded the same way: equal ones are
_SHORT: Final = 1e-26  # squared length of a row some of whose squares float32 takes for zero
_SOLVED: Final = 2e-6  # of both norms: what a solve in float32 adds, for which 8 bits are enough
_SAFE: Final = 1e12  # squared lengths up to this and its inverse multiply safely in float32


@dataclass(frozen=True)
class Grams:
    """Gram matrices of the two factors, (R, R), and how right they are.

    Rows of A are multiplied by ``by_a``, their scales among it, columns of B by ``by_b``.
    In float64, and in float32 if entries are right to 8 bits: a cut is taken from those
    only if it loses a 50th of the squared norm or more, of which float32 sees enough.
    """

    of_a: Tensor  # A Aᵀ = L Lᵀ
    of_b: Tensor  # Bᵀ B
    by_a: Tensor  # (R,) float64
    by_b: Tensor  # (R,) float64
    rounded: float  # relative error of an entry of both together
    summed: float  # error relative to the lengths of the two rows

    @property
    def both_coarse(self) -> bool:
        """Whether both are right to 8 bits, no more."""
        return self.rounded > _ONCE + _TWICE

    @cached_property
    def moved(self) -> float:
        """By how much rounding can have moved the squared norm of ``B A``."""
        if not self.summed:
            return 0.0
        a, b = self._sizes
        entries = float(torch.dot(a.flatten(), b.flatten()))
        return self._unit * (self.rounded * entries + self.summed * self._apart) + self._solved

    def off(self) -> Iterator[float]:
        """Yield by how much rounding can have moved ``Lᵀ Bᵀ B L``, in the Frobenius norm.

        For an error E of BᵀB its square is the trace of ``(A Aᵀ E)²``, no larger than that
        of absolute values; and likewise for an error of A Aᵀ. First a cheap bound on that,
        then itself.
        """
        if not self.summed:
            yield 0.0
            return
        a, b = self._sizes
        rough = self.rounded * _product_at_most(a, b) + self.summed * self._apart
        yield self._unit * rough + self._solved
        (long_a, to_a), (long_b, to_b) = self._lengths
        both = self.rounded * (a @ b)
        both.addr_(to_b, long_b, alpha=self.summed)
        both.addr_(long_a, to_a, alpha=self.summed)
        yield self._unit * float((both * both.T).sum().sqrt()) + self._solved

    @cached_property
    def total(self) -> float:
        """Squared Frobenius norm of ``B A``."""
        return float(torch.dot(self.of_a.flatten(), self.of_b.flatten()))

    @property
    def own(self) -> float:
        """The same of its terms apart, summed: much less than the total if they are alike."""
        return float(torch.dot(self.of_a.diagonal(), self.of_b.diagonal()))

    def definite(self) -> bool:
        """Return whether rounding has left A Aᵀ a metric, which can be solved in."""
        return not torch.linalg.cholesky_ex(self.of_a)[1]

    @cached_property
    def _unit(self) -> float:
        return float(self.of_a.diagonal().max().double() * self.of_b.diagonal().max())

    @cached_property
    def _sizes(self) -> tuple[Tensor, Tensor]:
        """Return absolute values in float32, by the largest."""
        a, b = (gram / gram.diagonal().max() for gram in (self.of_a, self.of_b))
        return a.float().abs_(), b.float().abs_()

    @cached_property
    def _lengths(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return the lengths of rows, and of each factor's what the other makes of them."""
        a, b = self._sizes
        long_a, long_b = a.diagonal().sqrt(), b.diagonal().sqrt()
        return (long_a, b @ long_a), (long_b, a @ long_b)

    @cached_property
    def _apart(self) -> float:
        (long_a, to_a), (long_b, to_b) = self._lengths
        return float(torch.dot(long_b, to_b) + torch.dot(long_a, to_a))

    @cached_property
    def _solved(self) -> float:
        if self.of_a.dtype != torch.float32:
            return 0.0
        return _SOLVED * float(self.of_a.norm()) * float(self.of_b.norm())


def _product_at_most(a: Tensor, b: Tensor) -> float:
    """Return no less than the Frobenius norm of a product, without making it.

    Of symmetric matrices without negative entries. Diagonals apart: they are most of a
    Gram matrix. Of the rest the largest sum of a row bounds the spectral norm.
    """
    (norm_a, row_a), (norm_b, row_b) = _beside_diagonal(a), _beside_diagonal(b)
    straight = float((a.diagonal() * b.diagonal()).norm())
    across = float(a.diagonal().max()) * norm_b + float(b.diagonal().max()) * norm_a
    return straight + across + min(row_a * norm_b, row_b * norm_a)


def _beside_diagonal(gram: Tensor) -> tuple[float, float]:
    """Return Frobenius norm and largest sum of a row of what is not on the diagonal."""
    diagonal = gram.diagonal()
    square = float(gram.norm().square() - diagonal.norm().square())
    return max(0.0, square) ** 0.5, float((gram.sum(1) - diagonal).max())


def finer(
    a: Tensor, b: Tensor, scales: Tensor, dtype: torch.dtype | None = None
) -> Iterator[Grams]:
    """Yield Gram matrices, each righter than the one before, those of float64 last.

    Args:
        a: (R, d_in) of any float type.
        b: (d_out, R), d_out the longer side.
        scales: (R,) float64, of the terms.
        dtype: what this machine multiplies fastest, float32 or bfloat16; by default that is
            measured if it matters, for bf16 factors alone, whose products are exact in bf16.
    """
    quick = a.shape[0] ** 2 * (a.shape[1] + b.shape[0]) <= _QUICK
    summed = max(_SUMMED, _STEADY * max(a.shape[1], b.shape[0]))
    narrow = not quick and a.dtype == b.dtype == torch.bfloat16
    if narrow and (product_dtype() if dtype is None else dtype) == torch.bfloat16:
        of_a, of_b = _product(a), _product(b.T)
        if _in_range(of_a, a) and _in_range(of_b, b.T):
            yield from _coarse(of_a, of_b, scales, 2 * _ONCE, summed)
            of_a = _with_rest(of_a, a)  # b is longer: once may do
            yield from _coarse(of_a, of_b, scales, _ONCE + _TWICE, summed)
            yield _balanced(of_a, _with_rest(of_b, b.T), scales, 2 * _TWICE, summed)
    elif not quick:
        of_a, of_b = _product(a.float()), _product(b.T.float())
        if _in_range(of_a, a) and _in_range(of_b, b.T):
            yield _balanced(of_a.double(), of_b.double(), scales, 0.0, summed)
    yield _balanced(_product(a.double()), _product(b.T.double()), scales, 0.0, 0.0)


def _coarse(
    of_a: Tensor, of_b: Tensor, scales: Tensor, rounded: float, summed: float
) -> Iterator[Grams]:
    """Yield the same in float32, unless its range could matter."""
    made = _balanced(of_a.float(), of_b.float(), scales, rounded, summed)
    if all(1 / _SAFE < float(gram.diagonal().max()) < _SAFE for gram in (made.of_a, made.of_b)):
        yield made


def _balanced(of_a: Tensor, of_b: Tensor, scales: Tensor, rounded: float, summed: float) -> Grams:
    """Share each term's norm evenly: it may hide a large factor behind a small one."""
    even = (of_b.diagonal().double() / of_a.diagonal()).pow(0.25)
    even = torch.where(even.isfinite() & (even > 0), even, 1.0)  # a term that is zero
    by_a, by_b = even * scales, 1 / even
    a, b = by_a.to(of_a.dtype), by_b.to(of_b.dtype)
    return Grams(of_a * a[:, None] * a, of_b * b[:, None] * b, by_a, by_b, rounded, summed)


def _product(rows: Tensor, known: Tensor | None = None) -> Tensor:
    """Return ``rows @ rows.T`` less what is known of it, (R, R) in the type of the rows."""
    count = len(rows)
    made = rows.new_empty(count, count)
    for start in range(0, count, _BLOCK):
        here, upto = slice(start, start + _BLOCK), slice(0, start + _BLOCK)
        if known is None:
            block = rows[here] @ rows[upto].T
        else:
            block = torch.addmm(known[here, upto], rows[here], rows[upto].T, beta=-1)
        made[here, upto] = block
        made[:start, here] = block[:, :start].T
    return made


def _with_rest(product: Tensor, rows: Tensor) -> Tensor:
    """Return ``rows @ rows.T`` of bf16 rows in float64, given the rounded product."""
    return product.double() + _product(rows, known=product)


def _in_range(gram: Tensor, rows: Tensor) -> bool:
    """Return whether products of ``rows`` neither overflow float32 nor vanish in it."""
    if not bool(gram.sum().isfinite()):
        return False
    short = gram.diagonal() < _SHORT
    return not bool(short.any()) or not bool(rows[short].any())
