"""From what a recipe wants of one module to the deltas that a method works on.

Trust meets method here. A method that divides by the sum of weights divides by
the sum *before* trust: what trust withholds stays where it was.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hivelearn.merging.deltas import LoraDelta
from hivelearn.merging.errors import MergeError
from hivelearn.merging.methods.gram import gram
from hivelearn.merging.run.plan import MergePlan
from hivelearn.merging.run.survey import Survey


def adapter_wide(plan: MergePlan) -> bool:
    """Return whether one set of coefficients serves all modules."""
    return plan.op.gram and plan.op.scope == "adapter"


def whole_coefficients(plan: MergePlan, survey: Survey) -> Tensor:
    """Return the (n,) coefficients of a method that sees whole adapters.

    Raises:
        MergeError: weights or settings that differ by module, which one set cannot.
    """
    settings = [*plan.recipe.weights, *plan.recipe.settings.values()]
    if not all(isinstance(value, bool | str | float) for value in settings):
        raise MergeError(
            f"{plan.op.name!r} judges whole adapters, so its settings cannot differ by module",
            remedy="Give single numbers as weights and settings.",
        )
    module = plan.modules[0]
    weights, share = plan.shares(module)
    found: Tensor = plan.op.load()(survey.total, weights, **plan.settings(module))
    return found * share


@dataclass(frozen=True, eq=False)
class ModuleInput:
    """What a method gets of one module.

    Attributes:
        loras: those with a weight, in content order; none if nobody has one here.
        settings: the method's, resolved for this module.
        coefficients: of every source of the plan; empty if the method is no weighted sum.
    """

    loras: list[LoraDelta]
    settings: dict[str, Any]
    coefficients: tuple[float, ...] = ()


def module_input(
    plan: MergePlan, module: str, survey: Survey | None, whole: Tensor | None
) -> ModuleInput:
    """Return what the plan's method gets of ``module``.

    Args:
        plan: who takes part.
        module: which one.
        survey: of all modules, if there was a first pass.
        whole: the coefficients of whole adapters, if the method has such.
    """
    if whole is not None and survey is not None:
        return _summed(plan, module, whole * survey.clips[:, plan.modules.index(module)])
    settings, share = plan.settings(module), 1.0
    weights = plan.weights(module)
    if plan.op.normalizes or settings.get("normalize"):
        weights, share = plan.shares(module)
    if plan.op.kind == "coefficients":
        here = weights != 0
        found = torch.zeros_like(weights)
        if bool(here.any()):
            inner = _inner(plan, module, here, survey)
            found[here] = plan.op.load()(inner, weights[here], **settings) * share
        return _summed(plan, module, found)
    if "lam" in settings:
        settings["lam"] *= share
    else:
        weights = weights * share
    # Who has no weight here is gone, and so is their own density.
    own = {n: v[weights != 0] if isinstance(v, Tensor) else v for n, v in settings.items()}
    return ModuleInput(_heavy(plan.loras(module, weights.tolist())), own)


def _summed(plan: MergePlan, module: str, coefficients: Tensor) -> ModuleInput:
    """Return a weighted sum: the coefficients are the weights."""
    row = tuple(coefficients.tolist())
    return ModuleInput(_heavy(plan.loras(module, row)), {}, row)


def _inner(plan: MergePlan, module: str, here: Tensor, survey: Survey | None) -> Tensor | None:
    """Return the Gram matrix of those with a weight, from the survey if there was one."""
    if not plan.op.gram:
        return None
    if survey is not None:
        return survey.grams[module][here][:, here]
    return gram(_heavy(plan.loras(module, here.double().tolist())))


def _heavy(loras: list[LoraDelta]) -> list[LoraDelta]:
    return [lora for lora in loras if lora.weight != 0]
