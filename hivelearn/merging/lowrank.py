"""The best factors of a matrix that is never formed.

Two shapes of matrix occur: a stack of factors (B · A with many columns) and a
matrix that only exists as blocks of rows, made anew whenever asked for. A low
stack is solved from two Gram matrices (:mod:`hivelearn.merging.exact`); a high one,
and rows, through products with a few dozen directions (:mod:`hivelearn.merging.sketch`).
In bf16 those products take half the time; how much that rounding can matter is
measured along with them, and where it can, the work is done again in float32.

The bytes of a result differ between machines and thread counts (1e-6), which is
why inputs and recipe are signed and merged weights never are.
"""

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.deltas import Rows
from hivelearn.merging.exact import exact
from hivelearn.merging.factors import (
    TOO_LARGE,
    Factors,
    Size,
    checked,
    decompose,
    nothing,
    relative_error,
)
from hivelearn.merging.grams import finer
from hivelearn.merging.kernels import product_dtype
from hivelearn.merging.krylov import dominant, named, signs, spectrum, width
from hivelearn.merging.sketch import Stack, explore, glance

__all__ = ["TOO_LARGE", "Factors", "Rows", "Size", "relative_error", "truncate", "truncate_rows"]

EXACT_MAX: Final = 256  # sum of ranks up to which two Gram matrices cost less than a sketch
_BLURRED: Final = 0.01  # of a stack's squared norm, by which rounding may move it


def truncate(
    a: Tensor,
    b: Tensor,
    size: Size,
    key: str | None = None,
    *,
    scales: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Factors:
    """Return the best factors of ``b @ diag(scales) @ a``, without forming it.

    Args:
        a: (R, d_in) of any float type, stacked.
        b: (d_out, R), stacked.
        size: of the result. A stack within its rank is returned as it is, exactly.
        key: names the sketch; by default the content does, so that who knows everything but
            his own factors cannot choose these to lie where the sketch looks least.
        scales: (R,) weights times scales, so that ``b`` need not be multiplied with
            them in its own precision; default 1.
        dtype: float32 or bfloat16, of the long products; default what this machine is
            faster at.

    Returns:
        Factors of rank 1 … ``size.rank``. Their error exceeds the optimum (Eckart and
        Young) by 1 % at most, or by the 1e-6 that float32 factors are rounded by. Of what
        :func:`exact` solves the error it gives is within 10 % whatever the rounding was (1e-3
        seen), and of what is sketched an estimate from 16 probes, good to 1 or 2 %.

    Raises:
        MergeError: the product overflows float32.
    """
    d_out, d_in, count = b.shape[0], a.shape[1], a.shape[0]
    scales = torch.ones(count) if scales is None else scales.float()
    if count <= size.rank and size.energy >= 1.0:
        return _stacked(a, b, scales, dtype)
    if d_out < d_in:  # the shorter side comes first, where finer products cost less
        turned = truncate(b.T, a.T, size, key, scales=scales, dtype=dtype)
        return replace(turned, a=turned.b.T.contiguous(), b=turned.a.T.contiguous())
    block = width(size.rank)
    if count <= max(EXACT_MAX, 3 * block) or 2 * block > d_in or size.energy < 1.0:
        if count > d_in:  # the matrix itself is smaller than its factors
            return decompose((b.double() * scales.double()) @ a.double(), size)
        return exact(a, b, scales, size, dtype)
    dtype = product_dtype() if dtype is None else dtype
    key = named(a) if key is None else key
    for kind in dict.fromkeys((dtype, torch.float32)):
        made = _sketched(Stack(a.to(kind), b.to(kind), scales, kind), size, key)
        if made is not None:
            return made
    return exact(a, b, scales, size, torch.float32)


def truncate_rows(rows: Rows, shape: tuple[int, int], size: Size, key: str = "") -> Factors:
    """Return the best factors of a matrix that comes as blocks of rows.

    The blocks are asked for three times. Only one of them, and matrices of some
    ``4 · rank`` rows or columns, are in memory at once; where these would be no
    smaller than the matrix, it is kept whole and solved exactly.

    Args:
        rows: yields every block of rows once, in order, the same at every call.
        shape: (d_out, d_in) of the whole.
        size: of the result.
        key: names the sketch.

    Returns:
        As :func:`truncate`, but that ``total`` is always exact.

    Raises:
        MergeError: the matrix overflows float32.
    """
    d_out, d_in = shape
    block_width = width(size.rank)
    if 2 * block_width > min(shape):
        return decompose(torch.cat([block for _, block in rows()]), size)
    total = 0.0

    def images(directions: Tensor, come_back: bool) -> tuple[Tensor, Tensor]:  # noqa: FBT001
        nonlocal total
        total = 0.0
        image = torch.empty(d_out, directions.shape[0])
        back = torch.zeros_like(directions)
        for place, block in rows():
            torch.mm(block, directions.T, out=image[place])
            total += float(torch.linalg.vector_norm(block, dtype=torch.float64)) ** 2
            if come_back:
                back.addmm_(image[place].T, block)
        return image, back

    _, start = images(signs(block_width, d_in, key, torch.float32), True)  # noqa: FBT003
    if total == 0.0:
        return nothing(d_out, d_in)
    return _split(*dominant(start, images, torch.float32), size, rest=None, total=total)


def _stacked(a: Tensor, b: Tensor, scales: Tensor, dtype: torch.dtype | None) -> Factors:
    """Return the stack itself and its squared norm, off by a hundredth of it at most."""
    longer, shorter = (b.T, a) if b.shape[0] >= a.shape[1] else (a, b.T)
    norm = 0.0
    for grams in finer(shorter, longer.T, scales.double(), dtype):
        norm = max(0.0, grams.total)
        if grams.moved <= _BLURRED * norm:
            break
    return checked(Factors(a.float(), b.float() * scales, norm, norm))


def _sketched(stack: Stack, size: Size, key: str) -> Factors | None:
    """Return factors by a sketch, or None if the rounding of its type could matter."""
    seen = glance(stack, size.rank, key)
    if seen is None or seen.too_coarse:  # nothing to see, perhaps, in this type
        return None
    directions, image, missed = explore(seen)
    made = _split(directions, image, size, rest=missed, unit=seen.unit)
    lost, whole = (made.total - made.kept) / seen.unit**2, made.total / seen.unit**2
    return made if seen.harmless(lost, whole) else None


def _split(
    directions: Tensor,
    image: Tensor,
    size: Size,
    *,
    rest: float | None,
    total: float = 0.0,
    unit: float = 1.0,
) -> Factors:
    """Cut ``unit · image @ directions`` to its size, half a singular value on each side.

    The whole has the squared norm ``total``, or ``rest`` more than the image.
    """
    wide = image.double() if image.dtype == torch.float32 else image.float()
    squares, turn = spectrum((wide.T @ wide).double())
    if rest is not None:
        total = float(squares.sum()) + rest
    rank = size.of(squares, total)
    roots = squares[:rank].pow(0.25)
    turn = turn[:, :rank]
    thin = image if image.dtype == torch.float32 else wide
    return checked(
        Factors(
            (turn * roots * unit**0.5).T.float() @ directions,
            thin @ (turn / roots * unit**0.5).float(),
            float(squares[:rank].sum()) * unit**2,
            total * unit**2,
        )
    )
