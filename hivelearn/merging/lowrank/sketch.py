"""What is large in a high stack, found in float32 with a few dozen directions, as columns.

A seeded start is drawn to it and made orthonormal between products; a round trip more adds a
second block. Directions that play no part in the search measure what it missed. Sources:
Halko, Martinsson, Tropp, arXiv:0909.4061; Musco and Musco, algorithm 2, arXiv:1504.05477.
"""

import hashlib
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor

from hivelearn.merging.lowrank.factors import FLOOR, Factors, Size, checked, halved
from hivelearn.merging.lowrank.gram import spectrum

_PROBES: Final = 16  # directions that only measure
_UNIT: Final = 3e-6  # of float32: what a result is off by, of its norm and of its terms'
_HARMLESS: Final = 0.01  # share of the squared error that this may be
_REACH: Final = 2.0**40  # lengths beyond it or its inverse are left to others

Forward = Callable[[Tensor], Tensor]  # directions (d_in, k) -> Δ times them (d_out, k)
Trip = Callable[[Tensor], tuple[Tensor, Tensor]]  # the same, and Δᵀ times what it spans (d_in, k)


def width(rank: int) -> int:
    """Return how many directions a block needs to find ``rank`` of them."""
    return max(2 * rank, rank + 16)


def content_key(*tensors: Tensor) -> str:
    """Return a key that follows from all the bytes of these tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().view(torch.int16).numpy().data)
    return digest.hexdigest()


def signs(rows: int, columns: int, key: str) -> Tensor:
    """Return the (rows, columns) float32 matrix of ±1 that ``key`` names, anywhere the same."""
    stream = hashlib.shake_256(f"hivelearn/sketch/2|{rows}x{columns}|{key}".encode())
    drawn = np.frombuffer(stream.digest(-(-rows * columns // 8)), np.uint8)
    bits = torch.from_numpy(np.unpackbits(drawn, count=rows * columns, bitorder="little"))
    return bits.view(rows, columns) * 2.0 - 1.0


def by_sketch(a: Tensor, b: Tensor, scales: Tensor, size: Size, key: str) -> Factors | None:
    """Return nearly the best factors of ``b @ diag(scales) @ a``; None if float32 may not do."""
    a, b, unit = a.float(), b.float(), float(scales.abs().max()) or 1.0
    weights = scales / unit

    def trip(directions: Tensor) -> tuple[Tensor, Tensor]:
        image = b @ (weights[:, None] * (a @ directions))
        return image, ((_orthonormal(image).T @ b * weights) @ a).T  # so turned a fifth faster

    block = width(size.rank)
    drawn = signs(a.shape[1], block + _PROBES, key)
    inner = a @ drawn
    flipped = inner[:, block:] * signs(len(a), _PROBES, f"{key}|flips")
    image = b @ (weights[:, None] * torch.cat([inner, flipped], 1))
    probed, loose = image[:, block:-_PROBES], image[:, -_PROBES:]
    outer = _orthonormal(image[:, :block]).T @ b
    seen = torch.cat([inner.abs().amax(1), outer.abs().amax(0)])  # lengths, more or less
    if not 1 / _REACH < float(seen.min()) <= float(seen.max()) < _REACH:  # NaN fails this too
        return None
    start = ((outer * weights) @ a).T
    found, image = dominant(start, trip, lambda tail: b @ (weights[:, None] * (a @ tail)))
    missed = probed - image @ (found.T @ drawn[:, block:])
    made = cut(found, image, size, rest=float(missed.norm()) ** 2 / _PROBES)
    off = _UNIT**2 * (made.total + float(loose.norm()) ** 2 / _PROBES)
    if not off <= _HARMLESS * (made.total - made.kept):
        return None
    half, square = unit**0.5, unit**2
    return checked(made.a * half, made.b * half, made.kept * square, made.total * square)


def dominant(start: Tensor, trip: Trip, forward: Forward) -> tuple[Tensor, Tensor]:
    """Return (d_in, 2k) directions that hold what is large in Δ, and their images (d_out, 2k)."""
    head = _orthonormal(start)
    image, tail = trip(head)
    for _ in range(2):  # of a direction that has converged, once leaves more error than rest
        tail = _orthonormal(tail - head @ (head.T @ tail))
    return torch.cat([head, tail], 1), torch.cat([image, forward(tail)], 1)


def cut(found: Tensor, image: Tensor, size: Size, *, rest: float = 0, total: float = 0) -> Factors:
    """Cut ``image @ found.T``; the whole has a squared norm of ``total``, or ``rest`` more."""
    squares, turn = spectrum((wide := image.double()).T @ wide)
    total = total or float(squares.sum()) + rest
    rank = size.of(squares, total)
    roots, turn = halved(squares[:rank]), turn[:, :rank]
    a, b = (turn * roots).T.float() @ found.T, image @ (turn / roots).float()
    return Factors(a, b, float(squares[:rank].sum()), total)


def _orthonormal(columns: Tensor) -> Tensor:
    """Return (d, ≤ k) orthonormal columns with the same span, less what is rounding in them."""
    wide = columns.double()
    gram = wide.T @ wide
    by = halved(gram.diagonal()) ** 2
    squares, turn = spectrum(gram / by[:, None] / by)
    strong = squares >= squares[:1] * FLOOR
    return (wide @ (turn[:, strong] / by[:, None] / halved(squares[strong]) ** 2)).float()
