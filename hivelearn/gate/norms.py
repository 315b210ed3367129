"""Numbers of an adapter that need no model: is it finite, how large is its change.

The change of a module is ``s·B·A``; its norm comes from two r x r Grams, never
from the dense product. The Gram cancels when a large A meets a large B whose
product is small, and a sender may choose the factors so on purpose. So what
rounding could hide is added: the norm reported is an upper bound, and equals
the norm to 1e-5 for factors that were trained.

Only methods of tensors are used, so that importing this file loads no torch.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

    from hivelearn.patch.adapter import Adapter

_EPSILON: Final = 2.0**-52  # of float64, in which the Grams are summed


def nonfinite(adapter: "Adapter") -> tuple[str, ...]:
    """Return the modules whose factors hold NaN or infinity, sorted."""
    return tuple(
        module
        for module, factors in adapter.factors.items()
        if not all(bool(factor.isfinite().all()) for factor in factors)
    )


def delta_norms(adapter: "Adapter") -> dict[str, float]:
    """Return ‖s·B·A‖ (Frobenius) of each module of a finite adapter, from above."""
    return {
        module: adapter.scale * product_norm(a, b) for module, (a, b) in adapter.factors.items()
    }


def product_norm(a: "Tensor", b: "Tensor") -> float:
    """Return an upper bound of ‖b @ a‖ for finite (r, d_in) and (d_out, r)."""
    a, b = a.double(), b.double()
    gram_a, gram_b = a @ a.T, b.T @ b  # (r, r) each
    squared = float((gram_a * gram_b).sum())
    terms = a.shape[1] + b.shape[0] + a.shape[0] ** 2  # summed for one result
    hidden = terms * _EPSILON * float(gram_a.trace() * gram_b.trace())
    return math.sqrt(max(0.0, squared) + hidden)


def whole_norm(norms: Mapping[str, float]) -> float:
    """Return the norm of all modules together."""
    return math.hypot(*norms.values())
