"""The best factors of a stack of factors, solved in the R dimensions of the stack.

With Gram matrices ``A Aᵀ = L Lᵀ`` and ``Bᵀ B`` the squared singular values of ``B A`` are
the eigenvalues of ``Lᵀ (Bᵀ B) L``: two products as large as the factors, and everything
else is R x R in float64. Norm and error are those of the whole matrix, not estimates.

What costs time are the two products, so they are made in the cheapest type first. A CPU
with bf16 instructions multiplies bf16 exactly, sums in float32 and rounds the sum to 8
bits. The same product again, the rounded one subtracted before it is rounded in turn,
gives 8 bits more, both together in a third of float32's time. By how much rounding can
move a squared norm is bounded by the same Gram matrices; where that is not small against
what the cut loses, finer ones are made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.factors import Factors, Size, checked, nothing
from hivelearn.merging.kernels import product_dtype
from hivelearn.merging.krylov import leading, spectrum

_QUICK: Final = 1 << 24  # multiplications of a Gram matrix that float64 does in no time
_ONCE: Final = 2.0**-8  # of an entry: what one rounding to 8 bits is off
_TWICE: Final = 2.0**-17  # what it is off together with the rest, rounded too
_SUMMED: Final = 2e-6  # of two rows' lengths, a sum in float32; 1e-6 seen at 14336 columns
_SHORT: Final = 1e-26  # squared length of a row some of whose squares float32 takes for zero
_HARMLESS: Final = 0.01  # share of the squared error by which rounding may move a squared norm


@dataclass(frozen=True, slots=True)
class Grams:
    """Inner products of the stack's rows of A and columns of B, (R, R) float64, and how right."""

    of_a: Tensor
    of_b: Tensor
    rounded: float = 0.0  # relative error of an entry of both together
    summed: float = 0.0  # error relative to the lengths of the two rows

    def moved(self, scales: Tensor) -> float:
        """Return by how much rounding can have moved the squared norm of any part."""
        if not self.summed:
            return 0.0
        a, b, scales = self.of_a.abs(), self.of_b.abs(), scales.abs()
        long_a, long_b = a.diagonal().sqrt() * scales, b.diagonal().sqrt() * scales
        apart = long_b @ a @ long_b + long_a @ b @ long_a
        return self.rounded * float(scales @ (a * b) @ scales) + self.summed * float(apart)


@dataclass(frozen=True, slots=True)
class Solution:
    """Which mixtures of the stack are the best factors."""

    mix_a: Tensor  # (r, R) float32: times A it is the new A
    mix_b: Tensor  # (R, r) float32: B times it is the new B
    kept: float  # squared norm of the new product
    total: float  # of the whole

    @property
    def lost(self) -> float:
        """Squared norm that the cut loses."""
        return max(0.0, self.total - self.kept)


def exact(
    a: Tensor, b: Tensor, scales: Tensor, size: Size, dtype: torch.dtype | None = None
) -> Factors:
    """Return the best factors of ``b @ diag(scales) @ a``.

    Args:
        a: (R, d_in) of any float type.
        b: (d_out, R).
        scales: (R,) float32.
        size: of the result.
        dtype: what this machine multiplies fastest, float32 or bfloat16; by default that is
            measured if it matters, for bf16 factors alone, whose products are exact in bf16.

    Raises:
        MergeError: the product overflows float32.
    """
    wide = scales.double()
    for grams in _finer(a, b, dtype):
        if grams.summed and not (_in_range(grams.of_a, a) and _in_range(grams.of_b, b.T)):
            continue
        found = _solved(grams, wide, size)
        if found is not None and grams.moved(wide) <= _HARMLESS * found.lost:
            mixed = _mixed_narrow if grams.rounded else _mixed
            new_a, new_b = mixed(found.mix_a, a), mixed(found.mix_b.T, b.T).T
            return checked(Factors(new_a, new_b, found.kept, found.total))
    return nothing(b.shape[0], a.shape[1])  # float64 sees nothing in it either


def _finer(a: Tensor, b: Tensor, dtype: torch.dtype | None) -> Iterator[Grams]:
    """Yield Gram matrices, each righter than the one before, those of float64 last."""
    quick = a.shape[0] ** 2 * (a.shape[1] + b.shape[0]) <= _QUICK
    narrow = not quick and a.dtype == b.dtype == torch.bfloat16
    if narrow and (product_dtype() if dtype is None else dtype) == torch.bfloat16:
        of_a, coarse = _with_rest(a @ a.T, a), b.T @ b  # b is the longer: once may be enough
        yield Grams(of_a, coarse.double(), _ONCE + _TWICE, _SUMMED)
        yield Grams(of_a, _with_rest(coarse, b.T), 2 * _TWICE, _SUMMED)
    elif not quick:
        rows, columns = a.float(), b.float()
        yield Grams((rows @ rows.T).double(), (columns.T @ columns).double(), 0.0, _SUMMED)
    rows, columns = a.double(), b.double()
    yield Grams(rows @ rows.T, columns.T @ columns)


def _with_rest(product: Tensor, rows: Tensor) -> Tensor:
    """Return ``rows @ rows.T`` of bf16 rows in float64, given what is left of it in bf16."""
    return product.double() + torch.addmm(product, rows, rows.T, beta=-1)


def _in_range(gram: Tensor, rows: Tensor) -> bool:
    """Return whether products of ``rows`` neither overflow float32 nor vanish in it."""
    short = gram.diagonal() < _SHORT
    return bool(gram.sum().isfinite()) and not bool(rows[short].any())


def _solved(grams: Grams, scales: Tensor, size: Size) -> Solution | None:
    """Return the best mixtures of a stack with these Gram matrices; None if it is zero."""
    # Each rank-1 term may hide a large factor behind a small one: share the norm evenly.
    even = (grams.of_b.diagonal() / grams.of_a.diagonal()).pow(0.25)
    even = torch.where(even.isfinite() & (even > 0), even, 1.0)  # a term that is zero
    by_a, by_b = even * scales, 1 / even
    of_a = grams.of_a * (by_a[:, None] * by_a)
    of_b = grams.of_b * (by_b[:, None] * by_b)
    total = float(torch.dot(of_a.flatten(), of_b.flatten()))
    half = _root(of_a)
    squares, turn = leading(lambda x: half.T @ (of_b @ (half @ x)), len(half), size.rank)
    rank = size.of(squares, total)
    if rank == 0:
        return None
    roots = squares[:rank].pow(0.25)
    left = half @ turn[:, :rank] / roots  # times B: the left vectors, times √ of their values
    right = of_b @ left / roots.square()  # the same product from the left, and from the right
    kept = ((half.T @ right) * roots).square().sum()
    return Solution(
        (right * by_a[:, None]).T.float(), (left * by_b[:, None]).float(), float(kept), total
    )


def _root(gram: Tensor) -> Tensor:
    """Return L with ``L Lᵀ = gram``: Cholesky's, or from eigenvectors if rows are dependent."""
    lower: Tensor
    lower, failed = torch.linalg.cholesky_ex(gram)
    if not failed and bool(lower.sum().isfinite()):
        return lower
    values, vectors = spectrum(gram)
    return vectors * values.sqrt()


def _mixed(mixture: Tensor, rows: Tensor) -> Tensor:
    """Return ``mixture @ rows`` in float32."""
    return mixture @ rows.float()


def _mixed_narrow(mixture: Tensor, rows: Tensor) -> Tensor:
    """Return the same of bf16 rows, its entries rounded to 8 bits; the mixture is not."""
    head = mixture.to(rows.dtype)
    both = torch.cat([head, (mixture - head).to(rows.dtype)]) @ rows
    return both[: len(head)].float() + both[len(head) :]
