"""Merges that change singular values and vectors: Iso-C and TSV.

Both look at whole matrices, so they belong into the core
(:func:`hivelearn.merging.methods.core_space.in_core`), where a matrix is (p, q) with p and q
at most the sum of the ranks. They are called like a stream operator, and yield one block.

What both share: ``weights`` (n,) are absolute and may be negative, so that the
papers' merge of n tasks is that with weights 1; ``lam``, their α, multiplies the
result; ``keys`` play no part. A result has the rank of the sum for Iso-C, at most
min(p, q) for TSV. Its singular values are alike, so a cut to a lower rank loses much.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.deltas import Deltas, LoraDeltas, Rows, Settings
from hivelearn.merging.errors import MergeError
from hivelearn.merging.lowrank.factors import TOO_LARGE

_NULL: Final = 1e-6  # singular values below this share of the first are rounding


def iso_c(deltas: Deltas, weights: Tensor, settings: Settings, keys: Sequence[bytes]) -> Rows:
    """Give all singular values of the weighted sum their mean.

    Args:
        deltas: n of shape (p, q).
        weights: (n,) float32.
        settings: ``lam``, default 1.
        keys: unused.

    Raises:
        MergeError: the sum is not finite.

    Source: Marczak et al. 2025, Iso-C, arXiv:2502.04959. Ours: the mean is over the
    singular values that are not zero. The paper's is over min(d_out, d_in) of them,
    nearly all of which are zero for low-rank deltas, and gives the zero ones a size.
    """
    del keys
    total = torch.zeros(deltas.shape, dtype=torch.float64)
    for n, weight in enumerate(weights.tolist()):
        total += weight * _whole(deltas, n)
    left, values, right = _svd(total)
    return _block(left @ (values.mean() * right) if len(values) else total, settings)


def tsv(deltas: Deltas, weights: Tensor, settings: Settings, keys: Sequence[bytes]) -> Rows:
    """Put the strongest singular vectors of all deltas at right angles, then add up.

    Of each delta the ``max(1, min(p, q) // n)`` largest singular triplets stay, so that
    all together fit into the space; n counts the deltas that are not zero. The left
    vectors of all are replaced by the nearest orthonormal ones (Procrustes), the right
    ones too.

    Args:
        deltas: n of shape (p, q).
        weights: (n,) float32, each multiplies its delta's singular values.
        settings: ``lam``, default 1.
        keys: unused.

    Raises:
        MergeError: a delta is not finite.

    Source: Gargiulo et al. 2024, TSV-Merge, arXiv:2412.00081, algorithm 1. Ours: the
    weights; vectors that depend on others (duplicates) are not replaced by arbitrary
    ones at right angles, but share the direction: of two equal deltas the mean stays.
    """
    del keys
    present = [(n, weight) for n, weight in enumerate(weights.tolist()) if weight != 0]
    triplets = [(weight, *_triplets(deltas, n)) for n, weight in present]
    triplets = [each for each in triplets if len(each[2])]  # a delta of zero takes no room
    if not triplets:
        return _block(torch.zeros(deltas.shape), settings)
    keep = max(1, min(deltas.shape) // len(triplets))
    left = torch.cat([each[:, :keep] for _, each, _, _ in triplets], dim=1)
    values = torch.cat([weight * each[:keep] for weight, _, each, _ in triplets])
    right = torch.cat([each[:keep] for _, _, _, each in triplets])
    return _block(_nearest_orthonormal(left) * values @ _nearest_orthonormal(right), settings)


def _whole(deltas: Deltas, index: int) -> Tensor:
    return deltas.block(index, slice(0, deltas.shape[0])).double()


def _triplets(deltas: Deltas, index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return one delta's singular triplets, from its factors if it has any."""
    if not isinstance(deltas, LoraDeltas):
        return _svd(_whole(deltas, index))
    lora = deltas.loras[index]
    left, upper = torch.linalg.qr(lora.b.double())
    right, lower = torch.linalg.qr(lora.a.double().T)
    inner_left, values, inner_right = _svd(lora.scale * upper @ lower.T)
    return left @ inner_left, values, inner_right @ right.T


def _svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the singular triplets of a float64 matrix that are not zero."""
    if not bool(matrix.isfinite().all()):
        raise MergeError(TOO_LARGE)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    strong = values > values[:1] * _NULL
    return left[:, strong], values[strong], right[strong]


def _nearest_orthonormal(vectors: Tensor) -> Tensor:
    """Return the polar factor: singular values 1 instead of whatever they were."""
    left, _, right = _svd(vectors)
    return left @ right


def _block(core: Tensor, settings: Settings) -> Rows:
    """Return λ times a matrix as its one block of rows."""
    lam = settings.get("lam", 1.0)
    assert not isinstance(lam, (str, Tensor)), "lam is one number"
    made = (core * lam).float()

    def rows() -> Iterator[tuple[slice, Tensor]]:
        yield slice(0, made.shape[0]), made.clone()

    return rows
