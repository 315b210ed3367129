"""The clipped sum of differentially private training: no example counts for more than ``clip``.

Per-example clipping of Abadi et al. 2016 (arXiv:1607.00133, Algorithm 1): each
gradient g becomes g / max(1, ‖g‖ / C), with one norm over all factors. The noise
and the accounting are for whoever trains; here is only what the engine must give.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class ClippedSum:
    """Adds up the gradients of single examples, each cut to a norm of ``clip_norm``.

    Args:
        like: tensors of the shapes of one gradient.
        clip_norm: the largest L2 norm that one example may add, above 0.
    """

    def __init__(self, like: Sequence[Tensor], clip_norm: float) -> None:
        self._clip_norm = clip_norm
        # float64: a sum in float32 would move by more than the clip where many examples meet.
        self._sums = [torch.zeros(t.shape, dtype=torch.float64, device="cpu") for t in like]
        self.clipped = 0

    def add(self, gradient: Sequence[Tensor]) -> None:
        """Add the gradient of one example."""
        # float64: the squares of float32 values do not overflow.
        parts = [part.cpu().double() for part in gradient]
        norm = math.hypot(*(float(torch.linalg.vector_norm(part)) for part in parts))
        if norm <= self._clip_norm:
            scale = 1.0
        else:  # written so that NaN is too long
            self.clipped += 1
            if not math.isfinite(norm):
                return
            scale = self._clip_norm / norm
        for total, part in zip(self._sums, parts, strict=True):
            total.add_(part, alpha=scale)

    def sums(self) -> list[Tensor]:
        """Return the sum, in float32."""
        return [total.float() for total in self._sums]
