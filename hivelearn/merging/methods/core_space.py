"""Merging in the core: the small space in which all deltas of a module live.

n deltas of rank r have their columns in a space of at most ``p = n·r`` dimensions
and their rows in one of ``q``. In orthonormal bases of the two a delta is a (p, q)
matrix, and a rule that looks at single entries works there at a thousandth of the
cost, with a result that is of rank min(p, q) exactly. It is another operator than
the same rule on the whole delta (cosine .48 for TIES), hence another name.

The bases are singular vectors of all deltas side by side, so that they follow from
the deltas alone: other factors of the same deltas, or another order, give the same
core. A QR of the factors, as in the paper, would not. Their signs, which no rule looks
at until two deltas are opposite and an election is a tie, are those that a fixed
direction sees as positive. Where singular values coincide, as in deltas of orthonormal
factors, any rotation of their vectors is as good, and another one is another core.
Neither bases nor deltas are ever formed: both are mixtures of the stacked factors, and
everything happens between Gram matrices of their R columns.

Source: Panariello et al. 2025, "Core Space", arXiv:2509.17786; Stoica et al. 2024,
KnOTS, arXiv:2410.19735. Ours: the bases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

import torch
from torch import Tensor

from hivelearn.merging.deltas import LoraDelta, LoraDeltas, Settings, StreamMethod
from hivelearn.merging.lowrank.factors import Factors, Size, nothing
from hivelearn.merging.lowrank.gram import spectrum
from hivelearn.merging.lowrank.qr import by_svd
from hivelearn.merging.lowrank.sketch import signs

_NULL: Final = 1e-12  # squared singular values below this share of the first: no direction


@dataclass(frozen=True, slots=True)
class Basis:
    """Orthonormal bases of all columns and of all rows, as mixtures of stacked factors."""

    a: Tensor  # (R, d_in) of any float type, stacked
    b: Tensor  # (d_out, R)
    mix_left: Tensor  # (R, p) float64
    mix_right: Tensor  # (R, q) float64
    loras: tuple[LoraDelta, ...]  # the same deltas in these bases: b (p, r_i), a (r_i, q) float32

    @property
    def left(self) -> Tensor:
        """(d_out, p) float32, left singular vectors of ``[Δ_1 … Δ_n]``, the first largest."""
        return self.b.float() @ self.mix_left.float()

    @property
    def right(self) -> Tensor:
        """(d_in, q) float32, right singular vectors of the Δ_i one below the other."""
        return self.a.float().T @ self.mix_right.float()

    @property
    def shape(self) -> tuple[int, int]:
        """(p, q) of a core."""
        return self.mix_left.shape[1], self.mix_right.shape[1]

    def lift(self, core: Tensor, size: Size) -> Factors:
        """Return the best factors of ``left @ core @ right.T``, of rank at most min(p, q).

        Raises:
            MergeError: ``core``, (p, q) of any float type, is not finite.
        """
        made = by_svd(core, size)
        b = self.b.float() @ (self.mix_left @ made.b.double()).float()
        a = (made.a.double() @ self.mix_right.T).float() @ self.a.float()
        return replace(made, a=a, b=b)


def joint_basis(loras: Sequence[LoraDelta]) -> Basis:
    """Return the bases of all deltas of a module. Weights do not count, scales do.

    Args:
        loras: at least one; ranks may differ. Directions below 1e-6 of the strongest
            are left out, so duplicates add none; if all deltas are zero, p = q = 0.

    Raises:
        MergeError: a factor is not finite, or a Gram matrix of it overflows float64.
    """
    a = torch.cat([lora.a for lora in loras])
    b = torch.cat([lora.b for lora in loras], dim=1)
    gram_a, gram_b = (x.double() @ x.double().T for x in (a, b.T))
    ends = accumulate(lora.a.shape[0] for lora in loras)
    own = [(slice(end - lora.a.shape[0], end), lora) for end, lora in zip(ends, loras, strict=True)]
    mix_left = _principal(gram_b, gram_a, own, b.T)
    mix_right = _principal(gram_a, gram_b, own, a)
    to_left, to_right = mix_left.T @ gram_b, gram_a @ mix_right  # (p, R), (R, q)
    rotated = tuple(
        replace(lora, b=to_left[:, place].float(), a=to_right[place].float()) for place, lora in own
    )
    return Basis(a, b, mix_left, mix_right, rotated)


def in_core(
    loras: Sequence[LoraDelta], function: StreamMethod, settings: Settings, size: Size
) -> Factors:
    """Merge by ``function`` in the joint core and return the best factors of the result.

    Args:
        loras: their weights and keys go to the function; one of weight 0 is absent.
        function: a stream operator, or one of :mod:`hivelearn.merging.methods.isotropic`.
        settings: for the function; of a tensor in it, each delta has one entry.
        size: of the result, whose rank is at most that of the core.

    Raises:
        MergeError: what the function raises, or the merge overflows float32.
    """
    present = [n for n, lora in enumerate(loras) if lora.weight != 0]
    if not present:
        return nothing(loras[0].b.shape[0], loras[0].a.shape[1])
    basis = joint_basis([loras[n] for n in present])
    if 0 in basis.shape:
        return nothing(loras[0].b.shape[0], loras[0].a.shape[1])
    core = torch.empty(basis.shape)
    rows = function(
        LoraDeltas(basis.loras),
        torch.tensor([lora.weight for lora in basis.loras], dtype=torch.float32),
        {k: v[present] if isinstance(v, Tensor) else v for k, v in settings.items()},
        [lora.key for lora in basis.loras],
    )
    for place, block in rows():
        core[place] = block
    return basis.lift(core, size)


def _principal(
    gram: Tensor, other: Tensor, own: Sequence[tuple[slice, LoraDelta]], rows: Tensor
) -> Tensor:
    """Return (R, p), what mixes stacked factors, (R, d) rows, to singular vectors of all deltas.

    Side by side the deltas are ``B · diag(s_i A_i)``. With ``s_i² A_i A_iᵀ = L_i L_iᵀ``
    that is, but for a rotation, ``B · diag(L_i)``: R columns with a known Gram matrix.
    """
    roots = torch.zeros_like(gram)
    for place, lora in own:
        values, vectors = spectrum(other[place, place])
        roots[place, place] = vectors * (values.sqrt() * lora.scale)
    if len(gram) > rows.shape[1]:  # more columns than they have entries: the other side's Gram
        columns = roots.T @ rows.double()
        values, vectors = spectrum(columns.T @ columns)
        vectors = columns @ vectors / values.clamp_min(torch.finfo(torch.float64).tiny).sqrt()
    else:
        values, vectors = spectrum(roots.T @ gram @ roots)
    strong = values > values[0] * _NULL
    mixtures: Tensor = roots @ (vectors[:, strong] / values[strong].sqrt())
    return _upright(mixtures, rows)


def _upright(mixture: Tensor, rows: Tensor) -> Tensor:
    """Return (R, p) mixtures of (R, d) rows, each with the sign that a fixed direction likes."""
    seen = (rows.double() @ signs(1, rows.shape[1], "upright")[0].double()) @ mixture
    return torch.where(seen < 0, -mixture, mixture)
