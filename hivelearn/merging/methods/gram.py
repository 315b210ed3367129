"""Inner products of deltas that are never formed: all that coefficient operators see.

With H = (A Aᵀ) ∘ (Bᵀ B) over the stacked factors, ⟨Δ_i, Δ_j⟩ is the sum of block
(i, j) of H, since tr((B_i A_i)ᵀ B_j A_j) is a sum of products of entries. That is
R x R work, R the sum of the ranks, where the deltas would be n x d_out x d_in.

Everything is float64, by measurement. Patches that share a common part differ
by little: where factors differ by 1e-3, float32 gets the distance of two deltas
wrong by a tenth, float64 by 1e-9, and takes twice the time. The known cure in
float32, telescoping about one patch, fails if that very patch lies far off, which
is what an attacker would send. Hence one matrix, from which distances are read;
matrices of several modules add up to that of the whole adapter.

Source: the identity is folklore; ours is where the float64 goes.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.deltas import LoraDelta
from hivelearn.merging.errors import MergeError

_CHUNK_BYTES: Final = 4 << 20  # of float64 in hand at once; larger is no faster
_ROUNDING: Final = 1e-14  # of the squared norms; sums of products keep 2e-15
_PANELS: Final = 4  # a symmetric product in 4 panels costs 5/8 of a full one


def gram(loras: Sequence[LoraDelta]) -> Tensor:
    """Return the inner products ⟨Δ_i, Δ_j⟩ of one module's deltas, Δ = scale · B · A.

    Weights are not applied. Beside the result's R x R floats, a few MiB of the
    factors are in memory at once, whatever the module's size.

    Args:
        loras: at least one, of one shape; ranks may differ, and rank 0 is a zero delta.

    Returns:
        (n, n) float64, exactly symmetric. Relative error 1e-15 of ‖Δ_i‖ · ‖Δ_j‖.
        Sum it over modules for the Gram matrix of whole adapters.

    Raises:
        MergeError: a delta holds NaN or infinity.
    """
    ranks = torch.tensor([lora.a.shape[0] for lora in loras])
    total = int(ranks.sum())
    products = _outer(_blocks([lora.a for lora in loras], total), total)
    products *= _outer(_blocks([lora.b.T for lora in loras], total), total)
    products = products.triu() + products.triu(1).T  # below the panels nothing was computed
    owner = torch.repeat_interleave(torch.arange(len(loras)), ranks)
    rows = products.new_zeros(len(loras), total).index_add_(0, owner, products)
    inner = products.new_zeros(len(loras), len(loras)).index_add_(1, owner, rows)
    scales = torch.tensor([lora.scale for lora in loras], dtype=torch.float64)
    inner = (inner + inner.T) * (0.5 * scales[:, None] * scales)
    for place, norm in enumerate(inner.diagonal().tolist()):
        if not norm < float("inf"):  # NaN fails this too
            raise MergeError("holds NaN or infinity", delta=place)
    return inner


def norms(gram: Tensor) -> Tensor:
    """Return the Frobenius norms ‖Δ_i‖, (n,) float64."""
    return gram.diagonal().clamp_min(0.0).sqrt()


def distances(gram: Tensor) -> Tensor:
    """Return the squared distances ‖Δ_i − Δ_j‖², (n, n) float64.

    They keep 1e-16 of the squared norms: where deltas differ by 1e-4, they are right
    to 1e-7. What differs by less than 1e-7 is rounding and counts as equal: exactly 0.
    Sums over modules are those of whole adapters, as with the Gram matrix.
    """
    squares = gram.diagonal()
    both = squares[:, None] + squares
    apart = both - 2.0 * gram
    return torch.where(apart > _ROUNDING * both, apart, 0.0)


def _blocks(factors: Sequence[Tensor], total: int) -> Iterator[Tensor]:
    """Yield blocks of columns of the stacked (r_i, d) factors, (R, block) float64."""
    width = factors[0].shape[1]
    step = max(64, _CHUNK_BYTES // (8 * max(total, 1)))
    for start in range(0, width, step):
        # Stacked as they are, then widened: half the copying for bf16 factors.
        yield torch.cat([factor[:, start : start + step] for factor in factors]).double()


def _outer(blocks: Iterator[Tensor], total: int) -> Tensor:
    """Return the sum of ``block @ block.T``, valid on and above the diagonal."""
    product = torch.zeros(total, total, dtype=torch.float64)
    step = max(1, -(-total // _PANELS))
    for block in blocks:
        for top in range(0, total, step):
            panel = product[top : top + step, top:]
            panel.addmm_(block[top : top + step], block[top:].T)
    return product
