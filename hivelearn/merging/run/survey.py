"""What all modules together say of the sources: norms, cosines, one set of coefficients.

The first pass of a merge whose coefficients are those of whole adapters, seen as
one long vector: Gram matrices add up over modules.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hivelearn.merging.methods.gram import gram, norms
from hivelearn.merging.methods.robust import module_clip
from hivelearn.merging.run.plan import MergePlan


@dataclass(frozen=True, eq=False)
class Survey:
    """Inner products of the sources, in the plan's order.

    Attributes:
        grams: module to (n, n) float64.
        clips: (n, modules) float64 in (0, 1]: by how much each source is shortened there.
    """

    grams: dict[str, Tensor]
    clips: Tensor

    @property
    def total(self) -> Tensor:
        """Return the (n, n) Gram matrix of whole adapters, clipped."""
        clipped = (
            inner * self.clips[:, None, n] * self.clips[None, :, n]
            for n, inner in enumerate(self.grams.values())
        )
        return torch.stack(list(clipped)).sum(dim=0)


def take_survey(plan: MergePlan, on_module: Callable[[str], None]) -> Survey:
    """Read every module once and return what the sources look like from each other.

    Args:
        plan: who takes part.
        on_module: called with the name of each module as it is done.

    Raises:
        MergeError: NaN or infinity in a source.
    """
    ones = [1.0] * len(plan.sources)
    grams = {}
    for module in plan.modules:
        with plan.naming_errors(module):
            grams[module] = gram(plan.loras(module, ones))
        on_module(module)
    sizes = torch.stack([norms(inner) for inner in grams.values()], dim=1)  # (n, modules)
    clips = torch.ones_like(sizes)
    if plan.op.clips:
        clips = module_clip(sizes, plan.shares(plan.modules[0])[0])
    return Survey(grams, clips)
