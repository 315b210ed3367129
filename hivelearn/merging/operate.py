"""One module: parts in, its merged delta out, as factors or as rows.

Whatever the kind of method, a merged delta is either a product of thin factors
(a weighted sum, a core lifted back) or exists only entry by entry.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hivelearn.merging.core import in_core
from hivelearn.merging.lowrank.factors import Factors, Size
from hivelearn.merging.lowrank.sketch import content_key
from hivelearn.merging.lowrank.truncate import truncate, truncate_rows
from hivelearn.merging.parts import LoraDeltas, Part, Rows
from hivelearn.merging.schema import Operator

BLOCK_ELEMENTS = 1 << 20  # of a dense delta made from factors: 4 MiB


def factors(op: Operator, parts: Sequence[Part], settings: dict[str, Any], size: Size) -> Factors:
    """Return the merged delta of one module at the wanted size.

    Args:
        op: the method; for *coefficients* the parts' weights are the coefficients.
        parts: in content order, none of weight 0.
        settings: of this module, as the plan resolves them.
        size: rank, and energy to keep.
    """
    if op.kind == "coefficients":
        a, b, scales = stacked(parts)
        return truncate(a, b, size, scales=scales)
    if op.kind == "stream":
        shape = parts[0].b.shape[0], parts[0].a.shape[1]
        key = content_key(*(part.a for part in parts))
        return truncate_rows(_entries(op, parts, settings), shape, size, key)
    if op.kind == "core":
        return in_core(parts, op.load(), settings, size)
    merged: Factors = op.load()(parts, settings, size)
    return merged


def rows(op: Operator, parts: Sequence[Part], settings: dict[str, Any]) -> Rows:
    """Return the merged delta of one module as blocks of rows, without loss."""
    if op.kind == "stream":
        return _entries(op, parts, settings)
    if op.kind == "coefficients":
        a, b, scales = stacked(parts)
        return _products(a.float(), b.float() * scales)
    whole = Size(min(parts[0].b.shape[0], parts[0].a.shape[1]))
    made = factors(op, parts, settings, whole)
    return _products(made.a, made.b)


def stacked(parts: Sequence[Part]) -> tuple[Tensor, Tensor, Tensor]:
    """Return A (R, d_in), B (d_out, R) and scales (R,) of a weighted sum, R the sum of ranks.

    The sum of ``w·s·B·A`` is one product of stacked factors, so nothing of the size
    of the model's weight is formed. Averaging A and B apart, as PEFT's ``linear``
    does, adds cross terms (relative error 1.67 on four adapters) and cancels an
    adapter against its own sign-flipped twin, which has the same delta.
    """
    a = torch.cat([part.a for part in parts])
    b = torch.cat([part.b for part in parts], dim=1)
    scales = [part.weight * part.scale for part in parts for _ in range(part.a.shape[0])]
    return a, b, torch.tensor(scales, dtype=torch.float32)


def _entries(op: Operator, parts: Sequence[Part], settings: dict[str, Any]) -> Rows:
    weights = torch.tensor([part.weight for part in parts], dtype=torch.float32)
    bare = [replace(part, a=part.a.float(), weight=1.0) for part in parts]  # A once, not per block
    merged: Rows = op.load()(LoraDeltas(bare), weights, settings, [part.key for part in parts])
    return merged


def _products(a: Tensor, b: Tensor) -> Rows:
    height = max(1, BLOCK_ELEMENTS // a.shape[1])

    def made() -> Iterator[tuple[slice, Tensor]]:
        for top in range(0, b.shape[0], height):
            place = slice(top, min(top + height, b.shape[0]))
            yield place, b[place] @ a

    return made
