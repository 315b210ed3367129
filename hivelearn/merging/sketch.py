"""What is large in a stack of factors, found with a few dozen directions.

Along with the directions that search go some that only measure. Probes tell how much
the search has missed. The first products once more, their terms with random signs,
tell how large the stack would be if nothing in it added up or cancelled: in bf16
every term is rounded by its own size, so this is what the rounding must be held
against, and weights that nearly cancel are seen for what they are.

A first glance, a fifth of the work, already tells roughly how much a cut to a rank
would lose.
"""

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.factors import TOO_LARGE
from hivelearn.merging.krylov import dominant, signs, spectrum, whitening, width

PROBES: Final = 16
_FLOOR: Final = {torch.float32: 1e-13, torch.bfloat16: 1e-6}  # of squares: below is rounding
# Twice what a type's rounding adds to a result, relative to what the result is made of.
_COARSE: Final = {torch.float32: 5e-7, torch.bfloat16: 4e-3}
_FAINT: Final = 1e-6  # of the norm: what float32 factors are rounded by in any case
_HARMLESS: Final = 0.01  # share of the squared error that rounding may be: 1.005 x the error


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
class Glance:
    """The products of a stack with its first, random directions."""

    stack: Stack  # its scales divided by ``unit``
    unit: float
    start: Tensor  # (d_out, k), the images of the directions that search, balanced
    probes: Tensor  # (PROBES, d_in), the directions that only measure
    probed: Tensor  # (d_out, PROBES), their images
    loose: float  # squared norm if all rank-1 terms stood at right angles, / unit²
    whole: float  # estimate of the squared norm, / unit²
    lost: float  # and of what a cut to the wanted rank will lose; may be half or twice as much

    @property
    def too_coarse(self) -> bool:
        """Whether a cut loses so little that rounding is certain to matter."""
        return not self.harmless(2 * self.lost, self.whole)

    def harmless(self, lost: float, whole: float) -> bool:
        """Return whether rounding is small against squared norms lost and whole, / unit²."""
        rounding = _COARSE[self.stack.dtype] ** 2 * (whole + self.loose)
        return rounding <= max(_HARMLESS * lost, _FAINT**2 * whole)


def glance(stack: Stack, rank: int, key: str) -> Glance | None:
    """Multiply a stack with its first directions; None if it is zero.

    Raises:
        MergeError: the matrix overflows float32.
    """
    block = width(rank)
    drawn = signs(block + PROBES, stack.a.shape[1], key, stack.dtype)
    inner = stack.inner(drawn)
    flipped = inner[:, :PROBES] * signs(inner.shape[0], PROBES, f"{key}|flips", torch.float32)
    image = stack.outer(torch.cat([inner, flipped], dim=1))
    peak = max(abs(float(end)) for end in image.aminmax())
    if not peak <= torch.finfo(torch.float32).max:  # NaN fails this too
        raise MergeError(TOO_LARGE)
    if peak < torch.finfo(torch.float32).tiny:
        return None
    image = image / peak
    start, loose = image[:, :block], image[:, block + PROBES :].float()
    wide = start.double() if stack.dtype == torch.float32 else start.float()
    squares, vectors = spectrum((wide.T @ wide).double())
    # Balanced: of columns as they come bf16 would see the largest singular value alone.
    turn = whitening(squares, vectors, _FLOOR[stack.dtype]).to(stack.dtype)
    return Glance(
        stack=replace(stack, scales=stack.scales / peak),
        unit=peak,
        start=start @ turn,
        probes=drawn[block:],
        probed=image[:, block : block + PROBES],
        loose=float(loose.square().sum()) / PROBES,
        whole=float(squares.sum()) / block,
        lost=float(squares[rank:].sum()) / (block - rank),
    )


def explore(seen: Glance) -> tuple[Tensor, Tensor, float]:
    """Return what is large in the stack of ``seen``, enough for its best rank.

    Returns:
        (k, d_in) float32, orthonormal rows; (d_out, k), the stack times them, / unit; and
        an unbiased estimate of the squared norm that they do not hold, / unit².
    """
    stack = seen.stack
    directions, image = dominant(stack.back(seen.start), stack.images, stack.dtype)
    expected = (directions @ seen.probes.float().T).to(stack.dtype)  # (k, PROBES)
    missed = torch.addmm(seen.probed, image, expected, alpha=-1).float()
    return directions, image, float(missed.square().sum()) / PROBES
