"""Merging adapters that share one A: the B matrices are the deltas.

Adapters trained with a frozen A (FFA-LoRA) differ in B alone. Then the weighted sum
of the B is the weighted sum of the deltas, exactly and without growing in rank, and
a rule for single entries may work on the B, which are ``d_in / r`` times smaller.
That is another operator than the same rule on the deltas, and the only one here
that depends on how a delta is split into factors; so it is named apart, and refuses
adapters whose A differ: averaging factors that do not match is wrong without a word.

Source: Sun et al. 2024, FFA-LoRA, arXiv:2403.12313.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import torch
from torch import Tensor

from hivelearn.merging import sparse
from hivelearn.merging.errors import MergeError
from hivelearn.merging.lowrank.factors import Factors, Size
from hivelearn.merging.lowrank.truncate import truncate
from hivelearn.merging.parts import Deltas, DenseDeltas, Part, Rows

Settings: TypeAlias = Mapping[str, float | bool | str | Tensor]
Stream = Callable[[Deltas, Tensor, Settings, Sequence[bytes]], Rows]
_CLOSE: Final = 1e-6  # relative to the norm of A: what saving and loading may change


def shared_a(parts: Sequence[Part], settings: Settings, size: Size) -> Factors:
    """Return the weighted sum: A as it is, and the weighted sum of the B.

    Args:
        parts: at least one, of equal A.
        settings: unused.
        size: of the result; within the rank of A it is exact.

    Raises:
        MergeError: the A differ, or the sum overflows float32.
    """
    del settings
    a = common_a(parts)
    total = torch.zeros(parts[0].b.shape)
    for part in parts:
        total.add_(part.b.float(), alpha=part.weight * part.scale)
    return truncate(a, total, size)


def shared_ties(parts: Sequence[Part], settings: Settings, size: Size) -> Factors:
    """TIES on the B matrices; see :func:`hivelearn.merging.sparse.ties`."""
    return _on_b(sparse.ties, parts, settings, size)


def shared_dare_ties(parts: Sequence[Part], settings: Settings, size: Size) -> Factors:
    """DARE with TIES on the B matrices; see :func:`hivelearn.merging.sparse.dare_ties`."""
    return _on_b(sparse.dare_ties, parts, settings, size)


def shared_dare_linear(parts: Sequence[Part], settings: Settings, size: Size) -> Factors:
    """DARE on the B matrices; see :func:`hivelearn.merging.sparse.dare_linear`."""
    return _on_b(sparse.dare_linear, parts, settings, size)


def common_a(parts: Sequence[Part]) -> Tensor:
    """Return the A (r, d_in) that all parts have, in float32.

    Raises:
        MergeError: one differs from the first by more than 1e-6 of its norm.
    """
    first = parts[0].a
    others = [n for n, part in enumerate(parts) if not _alike(part.a, first)]
    if others:
        raise MergeError(
            f"delta {others[0]} does not share its A with the others, and this method merges "
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


def _on_b(function: Stream, parts: Sequence[Part], settings: Settings, size: Size) -> Factors:
    a = common_a(parts)
    deltas = DenseDeltas([part.b.float() * part.scale for part in parts])  # each (d_out, r)
    weights = torch.tensor([part.weight for part in parts], dtype=torch.float32)
    rows = function(deltas, weights, settings, [part.key for part in parts])
    b = torch.empty(parts[0].b.shape)
    for place, block in rows():
        b[place] = block
    return truncate(a, b, size)
