"""The best factors of a stack of factors, solved in the R dimensions of the stack.

The squared singular values of ``B A`` are the eigenvalues of ``(Bᵀ B)(A Aᵀ)``: two Gram
matrices as long as the factors, and everything else is R x R in float64. Norm and error
are those of the whole matrix: they carry the rounding of its Gram matrices, no sampling.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.factors import Factors, Size, checked, nothing
from hivelearn.merging.grams import Grams, finer
from hivelearn.merging.krylov import leading

_WORSE: Final = 0.01  # share of the squared error that rounding Gram matrices may add: a bound
_MIXED: Final = 0.005  # share of it that rounding the new factors may add: what is expected
_BLURRED: Final = 0.19  # share of it that the report may be off by rounding, a tenth of its root
_ALIKE: Final = 4.0  # times what terms are apart: 16 adapters half in common are 4.7, and lose 5 %
_NARROW: Final = 2.0**-16 / 3  # of a squared norm: what numbers lose in 8 bits


@dataclass(frozen=True, slots=True)
class Solution:
    """Which mixtures of the stack are the best factors."""

    mix_a: Tensor  # (r, R) float64: times A it is the new A
    mix_b: Tensor  # (R, r) float64: B times it is the new B
    kept: float  # squared norm of the new product
    total: float  # of the whole
    last: float  # smallest squared singular value that is kept
    next: float  # largest that is not
    loose: float  # twice what is kept, if no more than that cancels in a mixture

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
        dtype: what this machine multiplies fastest, as :func:`finer` takes it.

    Raises:
        MergeError: the product overflows float32.
    """
    for grams in finer(a, b, scales.double(), dtype):
        if grams.both_coarse and not _promising(grams):
            continue  # before a solve is spent on them
        found = _solved(grams, size)
        if found is not None and _right_enough(grams, found):
            mixed = _mixing(grams, found)
            made = mixed(found.mix_a, a), mixed(b, found.mix_b)
            return checked(Factors(*made, found.kept, found.total))
    return nothing(b.shape[0], a.shape[1])  # float64 sees nothing in it either


def _solved(grams: Grams, size: Size) -> Solution | None:
    """Return the best mixtures of a stack with these Gram matrices; None if it is zero."""
    of_a, of_b = grams.of_a, grams.of_b
    squares, left = leading(of_a, of_b, size.rank)
    rank = size.of(squares, grams.total)
    if rank == 0:
        return None
    last, after = float(squares[rank - 1]), float(squares[rank : rank + 1].sum())
    roots = squares[:rank, None].pow(0.25)
    left = left[:rank] / roots  # times Bᵀ: the left vectors, times √ of their values
    right = left @ of_b / roots.square()  # the same product from the left, and from the right
    kept = float((right @ of_a * right * roots.square()).sum())
    size_a, size_b = right.square() @ of_a.diagonal(), left.square() @ of_b.diagonal()
    each = roots[:, 0].square()  # of a row of the new A, as of a column of the new B
    loose = float((each * (size_a.maximum(each) + size_b.maximum(each))).sum())
    return Solution(
        right * grams.by_a, (left * grams.by_b).T, kept, grams.total, last, after, loose
    )


def _promising(grams: Grams) -> bool:
    """Return whether coarse products of both factors may do: it is worth a solve to see.

    They do if a cut loses a 25th of the squared norm or more, and it loses little of what
    terms have in common.
    """
    if grams.moved > _BLURRED * grams.total or grams.total > _ALIKE * grams.own:
        return False
    return grams.definite()


def _right_enough(grams: Grams, found: Solution) -> bool:
    """Return whether rounding matters neither to the factors nor to what is said of them.

    A matrix that is off by E in the Frobenius norm has other leading vectors. What theirs
    keep of the true one is less than the best by at most E times the distance of the two
    projections: √2r, and √2 E over the gap in the spectrum (Davis and Kahan 1970, sin Θ).
    That their images are not quite orthogonal adds E² over the last value. What they keep is
    a trace over r dimensions, so it is known to √r E, and the whole to ``moved``.
    """
    spare = _BLURRED * found.lost - grams.moved
    if spare < 0:
        return False
    root = math.sqrt(len(found.mix_a))
    return any(root * off <= spare and _harmless(found, off) for off in grams.off())


def _harmless(found: Solution, off: float) -> bool:
    gap, turned = found.last - found.next, math.sqrt(2 * len(found.mix_a))
    if gap > off:
        turned = min(turned, math.sqrt(2) * off / (gap - off))
    return off * turned + off**2 / found.last <= _WORSE * found.lost


def _mixing(grams: Grams, found: Solution) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the cheapest product, (mixture, rows) or (columns, mixture), that is right enough."""
    if not grams.summed:  # terms may cancel down to what float32 keeps of them
        return _mixed_wide
    if not grams.rounded or 2 * _NARROW * found.kept > _MIXED * found.lost:
        return _mixed
    rounded = _NARROW * (2 * found.kept + found.loose)
    return _mixed_roughly if rounded <= _MIXED * found.lost else _mixed_narrow


def _mixed_wide(left: Tensor, right: Tensor) -> Tensor:
    """Return the product in float32, summed in float64."""
    return (left.double() @ right.double()).float()


def _mixed(left: Tensor, right: Tensor) -> Tensor:
    """Return the same summed in float32."""
    return left.float() @ right.float()


def _mixed_narrow(left: Tensor, right: Tensor) -> Tensor:
    """Return the same with bf16 factors, its entries rounded to 8 bits; the mixture is not."""
    if left.dtype != torch.float64:
        return _mixed_narrow(right.T, left.T).T
    left = left.float()
    head = left.bfloat16()
    both = torch.cat([head, (left - head).bfloat16()]) @ right
    return both[: len(head)].float() + both[len(head) :]


def _mixed_roughly(left: Tensor, right: Tensor) -> Tensor:
    """Return the same, the mixture rounded to 8 bits as well: half the work."""
    return (left.bfloat16() @ right.bfloat16()).float()
