"""What a merge works on: one module's deltas, as factors or dense, never all rows at once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

# Blocks of rows with their place, made anew at every call: (slice, (rows, d_in) float32).
Rows = Callable[[], Iterator[tuple[slice, Tensor]]]


@dataclass(frozen=True, slots=True)
class Part:
    """One adapter's share in one module; its delta is ``scale · b @ a``."""

    a: Tensor  # (r_i, d_in), CPU, any float type
    b: Tensor  # (d_out, r_i), CPU, same type
    scale: float  # alpha / r_i
    weight: float  # as recipe and trust give it, may be negative
    key: bytes = b""  # 32 bytes naming the content; chance is drawn by it


class Deltas(Protocol):
    """n matrices of one shape, served as blocks of rows."""

    @property
    def count(self) -> int:
        """How many."""

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in) of each."""

    def block(self, index: int, place: slice) -> Tensor:
        """Return rows ``place`` of delta ``index``, (rows, d_in) float32, fresh memory."""


@dataclass(frozen=True, slots=True)
class LoraDeltas:
    """Deltas made from factors whenever a block of them is needed."""

    parts: Sequence[Part]  # at least one; weights are not applied

    @property
    def count(self) -> int:
        """How many."""
        return len(self.parts)

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in) of each."""
        return self.parts[0].b.shape[0], self.parts[0].a.shape[1]

    def block(self, index: int, place: slice) -> Tensor:
        """Return rows ``place`` of delta ``index``, in float32 whatever the factors are."""
        part = self.parts[index]
        # The scale goes to the thin side: rows x r instead of rows x d_in products.
        return (part.b[place].float() * part.scale) @ part.a.float()


@dataclass(frozen=True, slots=True)
class DenseDeltas:
    """Deltas that exist whole: full-weight differences, or a core."""

    matrices: Sequence[Tensor]  # each (d_out, d_in), any float type

    @property
    def count(self) -> int:
        """How many."""
        return len(self.matrices)

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in) of each."""
        return self.matrices[0].shape[0], self.matrices[0].shape[1]

    def block(self, index: int, place: slice) -> Tensor:
        """Return rows ``place`` of delta ``index``, a float32 copy."""
        return self.matrices[index][place].float().clone()
