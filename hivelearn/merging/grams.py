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
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.kernels import product_dtype

_QUICK: Final = 1 << 24  # multiplications of a Gram matrix that float64 does in no time
_BLOCK: Final = 64  # rows made at once: 256 of them cost 5/8 of the whole square
_ONCE: Final = 2.0**-8  # of an entry: what one rounding to 8 bits is off
_TWICE: Final = 2.0**-17  # what it is off together with the rest, rounded too
_SUMMED: Final = 2e-6  # of two rows' lengths, a sum in float32; 1e-6 seen at 14336 columns
_SHORT: Final = 1e-26  # squared length of a row some of whose squares float32 takes for zero


@dataclass(frozen=True, slots=True)
class Grams:
    """Gram matrices of the two factors, (R, R) float64, and how right they are.

    Rows of A are multiplied by ``by_a``, their scales among it, columns of B by ``by_b``.
    """

    of_a: Tensor  # A Aᵀ = L Lᵀ
    of_b: Tensor  # Bᵀ B
    by_a: Tensor  # (R,)
    by_b: Tensor  # (R,)
    rounded: float  # relative error of an entry of both together
    summed: float  # error relative to the lengths of the two rows

    def moved(self) -> float:
        """Return by how much rounding can have moved the squared norm of ``B A``."""
        a, b = self.of_a.abs(), self.of_b.abs()
        long_a, long_b = a.diagonal().sqrt(), b.diagonal().sqrt()
        apart = long_b @ a @ long_b + long_a @ b @ long_a
        return self.rounded * float((a * b).sum()) + self.summed * float(apart)

    def off(self) -> Iterator[float]:
        """Yield by how much rounding can have moved ``Lᵀ Bᵀ B L``, in the Frobenius norm.

        For an error E of BᵀB its square is the trace of ``(A Aᵀ E)²``, no larger than that
        of absolute values; and likewise for an error of A Aᵀ. First a cheap bound on that,
        the largest sum of a row of the one times the norm of the other, then itself.
        """
        if not self.summed:
            yield 0.0
            return
        top_a, top_b = self.of_a.abs().max(), self.of_b.abs().max()
        a, b = (self.of_a / top_a).float().abs_(), (self.of_b / top_b).float().abs_()
        long_a, long_b = a.diagonal().sqrt(), b.diagonal().sqrt()
        to_b, to_a = a @ long_b, b @ long_a
        most = torch.minimum(a.sum(1).max() * b.norm(), b.sum(1).max() * a.norm())
        apart = torch.dot(long_b, to_b) + torch.dot(long_a, to_a)
        yield float((self.rounded * most + self.summed * apart).double() * top_a * top_b)
        both = self.rounded * (a @ b)
        both.addr_(to_b, long_b, alpha=self.summed)
        both.addr_(long_a, to_a, alpha=self.summed)
        yield float((both * both.T).sum().double().sqrt() * top_a * top_b)


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
    narrow = not quick and a.dtype == b.dtype == torch.bfloat16
    if narrow and (product_dtype() if dtype is None else dtype) == torch.bfloat16:
        of_a, coarse = _with_rest(_product(a), a), _product(b.T)  # b is longer: once may do
        if _in_range(of_a, a) and _in_range(coarse, b.T):
            yield _balanced(of_a, coarse.double(), scales, _ONCE + _TWICE, _SUMMED)
            yield _balanced(of_a, _with_rest(coarse, b.T), scales, 2 * _TWICE, _SUMMED)
    elif not quick:
        of_a, of_b = _product(a.float()), _product(b.T.float())
        if _in_range(of_a, a) and _in_range(of_b, b.T):
            yield _balanced(of_a.double(), of_b.double(), scales, 0.0, _SUMMED)
    yield _balanced(_product(a.double()), _product(b.T.double()), scales, 0.0, 0.0)


def _balanced(of_a: Tensor, of_b: Tensor, scales: Tensor, rounded: float, summed: float) -> Grams:
    """Share each term's norm evenly: it may hide a large factor behind a small one."""
    even = (of_b.diagonal() / of_a.diagonal()).pow(0.25)
    even = torch.where(even.isfinite() & (even > 0), even, 1.0)  # a term that is zero
    by_a, by_b = even * scales, 1 / even
    of_a = of_a * (by_a[:, None] * by_a)
    of_b = of_b * (by_b[:, None] * by_b)
    return Grams(of_a, of_b, by_a, by_b, rounded, summed)


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
    short = gram.diagonal() < _SHORT
    return bool(gram.sum().isfinite()) and not bool(rows[short].any())
