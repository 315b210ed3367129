"""Merging adapters that share one A: the B matrices are the deltas.

Adapters trained with a frozen A (FFA-LoRA) differ in B alone. Then the weighted sum
of the B is the weighted sum of the deltas, exactly and without growing in rank, and
a rule for single entries may work on the B, which are ``d_in / r`` times smaller.
That is another operator than the same rule on the deltas, and the only one here
that depends on how a delta is split into factors; so it is named apart, and refuses
adapters whose A differ: averaging factors that do not match is wrong without a word.

Source: Sun et al. 2024, FFA-LoRA, arXiv:2403.12313.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.deltas import DenseDeltas, LoraDelta, Settings, StreamMethod
from hivelearn.merging.errors import MergeError
from hivelearn.merging.lowrank.factors import Factors, Size
from hivelearn.merging.lowrank.truncate import truncate
from hivelearn.merging.methods import sparse

_CLOSE: Final = 1e-6  # relative to the norm of A: what saving and loading may change


def shared_a(loras: Sequence[LoraDelta], settings: Settings, size: Size) -> Factors:
    """Return the weighted sum: A as it is, and the weighted sum of the B.

    Args:
        loras: at least one, of equal A.
        settings: unused.
        size: of the result; within the rank of A it is exact.

    Raises:
        MergeError: the A differ, or the sum overflows float32.
    """
    del settings
    a = common_a(loras)
    total = torch.zeros(loras[0].b.shape)
    for lora in loras:
        total.add_(lora.b.float(), alpha=lora.weight * lora.scale)
    return truncate(a, total, size)


def shared_ties(loras: Sequence[LoraDelta], settings: Settings, size: Size) -> Factors:
    """TIES on the B matrices; see :func:`hivelearn.merging.methods.sparse.ties`."""
    return _on_b(sparse.ties, loras, settings, size)


def shared_dare_ties(loras: Sequence[LoraDelta], settings: Settings, size: Size) -> Factors:
    """DARE with TIES on the B matrices; see :func:`hivelearn.merging.methods.sparse.dare_ties`."""
    return _on_b(sparse.dare_ties, loras, settings, size)


def shared_dare_linear(loras: Sequence[LoraDelta], settings: Settings, size: Size) -> Factors:
    """DARE on the B matrices; see :func:`hivelearn.merging.methods.sparse.dare_linear`."""
    return _on_b(sparse.dare_linear, loras, settings, size)


def common_a(loras: Sequence[LoraDelta]) -> Tensor:
    """Return the A (r, d_in) that all have, in float32.

    Raises:
        MergeError: one differs from the first by more than 1e-6 of its norm.
    """
    first = loras[0].a
    others = [n for n, lora in enumerate(loras) if not _alike(lora.a, first)]
    if others:
        raise MergeError(
            "does not share its A with the others, and this method merges "
            "the B of adapters with one A",
            remedy="Train them with freeze_a=True, or merge with ties or core_ties.",
            delta=others[0],
        )
    return first.float()


def _alike(a: Tensor, first: Tensor) -> bool:
    if a is first or (a.dtype == first.dtype and torch.equal(a, first)):
        return True
    if a.shape != first.shape:
        return False
    far = torch.linalg.vector_norm(a.float() - first.float())
    return bool(far <= _CLOSE * torch.linalg.vector_norm(first.float()))


def _on_b(
    function: StreamMethod, loras: Sequence[LoraDelta], settings: Settings, size: Size
) -> Factors:
    a = common_a(loras)
    deltas = DenseDeltas([lora.b.float() * lora.scale for lora in loras])  # each (d_out, r)
    weights = torch.tensor([lora.weight for lora in loras], dtype=torch.float32)
    rows = function(deltas, weights, settings, [lora.key for lora in loras])
    b = torch.empty(loras[0].b.shape)
    for place, block in rows():
        b[place] = block
    return truncate(a, b, size)
