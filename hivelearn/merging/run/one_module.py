"""One module: deltas in, their merged delta out, as factors or as rows.

Whatever the kind of method, a merged delta is either a product of thin factors
(a weighted sum, a core lifted back) or exists only entry by entry.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from hivelearn.merging.deltas import LoraDelta, LoraDeltas, Rows
from hivelearn.merging.lowrank.factors import Factors, Size
from hivelearn.merging.lowrank.sketch import content_key
from hivelearn.merging.lowrank.truncate import truncate, truncate_rows
from hivelearn.merging.methods.core_space import in_core
from hivelearn.merging.recipe.operator import Operator

_PRODUCT_ELEMENTS: Final = 1 << 20  # of a dense delta made from factors: 4 MiB


def merge_factors(
    op: Operator, loras: Sequence[LoraDelta], settings: dict[str, Any], size: Size
) -> Factors:
    """Return the merged delta of one module at the wanted size.

    Args:
        op: the method; for *coefficients* their weights are the coefficients.
        loras: in content order, none of weight 0.
        settings: of this module, as the plan resolves them.
        size: rank, and energy to keep.
    """
    if op.kind == "coefficients":
        a, b, scales = stacked(loras)
        return truncate(a, b, size, scales=scales)
    if op.kind == "stream":
        shape = loras[0].b.shape[0], loras[0].a.shape[1]
        key = content_key(*(lora.a for lora in loras))
        return truncate_rows(_entries(op, loras, settings), shape, size, key)
    if op.kind == "core":
        return in_core(loras, op.load(), settings, size)
    merged: Factors = op.load()(loras, settings, size)
    return merged


def merge_rows(op: Operator, loras: Sequence[LoraDelta], settings: dict[str, Any]) -> Rows:
    """Return the merged delta of one module as blocks of rows, without loss."""
    if op.kind == "stream":
        return _entries(op, loras, settings)
    if op.kind == "coefficients":
        a, b, scales = stacked(loras)
        return _products(a.float(), b.float() * scales)
    whole = Size(min(loras[0].b.shape[0], loras[0].a.shape[1]))
    made = merge_factors(op, loras, settings, whole)
    return _products(made.a, made.b)


def stacked(loras: Sequence[LoraDelta]) -> tuple[Tensor, Tensor, Tensor]:
    """Return A (R, d_in), B (d_out, R) and scales (R,) of a weighted sum, R the sum of ranks.

    The sum of ``w·s·B·A`` is one product of stacked factors, so nothing of the size
    of the model's weight is formed. Averaging A and B apart, as PEFT's ``linear``
    does, adds cross terms (relative error 1.67 on four adapters) and cancels an
    adapter against its own sign-flipped twin, which has the same delta.
    """
    a = torch.cat([lora.a for lora in loras])
    b = torch.cat([lora.b for lora in loras], dim=1)
    scales = [lora.weight * lora.scale for lora in loras for _ in range(lora.a.shape[0])]
    return a, b, torch.tensor(scales, dtype=torch.float32)


def _entries(op: Operator, loras: Sequence[LoraDelta], settings: dict[str, Any]) -> Rows:
    weights = torch.tensor([lora.weight for lora in loras], dtype=torch.float32)
    bare = [replace(lora, a=lora.a.float(), weight=1.0) for lora in loras]  # A once, not per block
    merged: Rows = op.load()(LoraDeltas(bare), weights, settings, [lora.key for lora in loras])
    return merged


def _products(a: Tensor, b: Tensor) -> Rows:
    height = max(1, _PRODUCT_ELEMENTS // a.shape[1])

    def made() -> Iterator[tuple[slice, Tensor]]:
        for top in range(0, b.shape[0], height):
            place = slice(top, min(top + height, b.shape[0]))
            yield place, b[place] @ a

    return made
