"""Is this update its author's own, or made of what others had made before?

Two adapters are one update if their deltas are: factors may be scaled, turned, permuted
or padded without changing what they do. So deltas are compared, by Gram matrices of
their factors, and no dense delta is formed. Each module of the new one is fitted by
those before it; how much of its squared norm the fit explains is the likeness. One
predecessor gives the squared cosine. Several, fitted module by module, also find a sum
of two updates, and one that takes its modules from several.

Modules that no predecessor changes say nothing, or one idle module would hide a copy.
Adapters of one domain that were trained apart, from the common start, reach .75 as
cosine and .71 as what eight of them explain of a ninth (docs/LOG.md).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

    from hivelearn.patch.adapter import Adapter

SAME: Final = 0.98  # cosine from which two updates are one
NEAREST: Final = 8  # predecessors fitted at once; many of them fit anything


def is_copy(adapter: "Adapter", nearest: "Sequence[Adapter]") -> bool:
    """Return whether its predecessors make up ``adapter``, noise aside."""
    return explained(adapter, nearest) >= SAME**2


def explained(adapter: "Adapter", others: "Sequence[Adapter]") -> float:
    """Return how much of ``adapter`` the deltas of ``others`` explain, in [0, 1]; all finite.

    The share of its squared norm, over the modules that at least one of them changes,
    that is left after the best fit by them is taken away, taken from 1.
    """
    import torch

    from hivelearn.merging.deltas import LoraDelta
    from hivelearn.merging.methods.gram import gram

    fitted = whole = 0.0
    for module, factors in adapter.factors.items():
        there = [each for each in others if _fits(each, module, factors)]
        if not there:
            continue
        products = gram(
            [LoraDelta(*each.factors[module], each.scale, 1.0) for each in (adapter, *there)]
        )
        # Of unit length, or a huge predecessor would hide a small one in the rounding.
        lengths = products.diagonal()[1:].sqrt()
        unit = torch.where(lengths > 0, 1 / lengths, 0.0)
        toward = products[1:, 0] * unit
        # Of equal predecessors the inverse is not unique, and any of them will do.
        inverse = torch.linalg.pinv(products[1:, 1:] * unit[:, None] * unit, hermitian=True)
        fitted += min(float(toward @ inverse @ toward), float(products[0, 0]))
        whole += float(products[0, 0])
    return max(0.0, fitted / whole) if whole > 0 else 0.0


def _fits(adapter: "Adapter", module: str, factors: "tuple[Tensor, Tensor]") -> bool:
    """Return whether an adapter changes ``module``, in the same shape."""
    (a, b), theirs = factors, adapter.factors.get(module)
    if theirs is None:
        return False
    return (a.shape[1], b.shape[0]) == (theirs[0].shape[1], theirs[1].shape[0])
