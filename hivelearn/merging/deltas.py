"""What a merge works on: one module's deltas, as factors or dense, never all rows at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

# Blocks of rows with their place, made anew at every call: (slice, (rows, d_in) float32).
Rows = Callable[[], Iterator[tuple[slice, Tensor]]]
# A method's settings in one module; one per delta is a tensor (n,).
Settings: TypeAlias = Mapping[str, float | bool | str | Tensor]


@dataclass(frozen=True, slots=True)
class LoraDelta:
    """One adapter's share in one module; its delta is ``scale · b @ a``."""

    a: Tensor  # (r_i, d_in), CPU, any float type
    b: Tensor  # (d_out, r_i), CPU, same type
    scale: float  # alpha / r_i
    weight: float  # as recipe and trust give it, may be negative
    key: bytes = b""  # 32 bytes naming the content; chance is drawn by it


def narrowed(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return factors of the same product with no more ranks than the matrix can have.

    A file of 80 KB may hold a column of 20,000 and a row, whose inner products are
    20,000² numbers; the matrix between them is one.
    """
    d_out, d_in = b.shape[0], a.shape[1]
    if a.shape[0] <= min(d_out, d_in):
        return a, b
    whole = (b.double() @ a.double()).float()
    return (torch.eye(d_in), whole) if d_in <= d_out else (whole, torch.eye(d_out))


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

    loras: Sequence[LoraDelta]  # at least one; weights are not applied

    @property
    def count(self) -> int:
        """How many."""
        return len(self.loras)

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in) of each."""
        return self.loras[0].b.shape[0], self.loras[0].a.shape[1]

    def block(self, index: int, place: slice) -> Tensor:
        """Return rows ``place`` of delta ``index``, in float32 whatever the factors are."""
        lora = self.loras[index]
        # The scale goes to the thin side: rows x r instead of rows x d_in products.
        return (lora.b[place].float() * lora.scale) @ lora.a.float()


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


# (n deltas, (n,) weights, settings, n keys) -> the merged delta
StreamMethod = Callable[[Deltas, Tensor, Settings, Sequence[bytes]], Rows]
