"""From what a recipe wants of one module to the parts that a method works on.

Trust meets method here. A method that divides by the sum of weights divides by
the sum *before* trust: what trust withholds stays where it was.
"""

from dataclasses import replace
from typing import Any

from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.gram import gram
from hivelearn.merging.parts import Part
from hivelearn.merging.plan import Plan
from hivelearn.merging.survey import Survey


def adapter_wide(plan: Plan) -> bool:
    """Return whether one set of coefficients serves all modules."""
    return plan.op.gram and plan.op.scope == "adapter"


def whole_coefficients(plan: Plan, survey: Survey) -> Tensor:
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
    weights, share = plan.weights(module)
    found: Tensor = plan.op.load()(survey.total, weights, **plan.settings(module))
    return found * share


def weighed(
    plan: Plan, module: str, survey: Survey | None, whole: Tensor | None
) -> tuple[list[Part], dict[str, Any]]:
    """Return the parts of a module with the weights the method needs, and its settings.

    Sources of weight 0 here are left out; if all are, the list is empty.

    Args:
        plan: who takes part.
        module: which one.
        survey: of all modules, if there was a first pass.
        whole: the coefficients of whole adapters, if the method has such.
    """
    settings = plan.settings(module)
    if whole is not None and survey is not None:
        clips = survey.clips[:, plan.modules.index(module)]
        return _heavy(plan.parts(module, (whole * clips).tolist())), {}
    weights, share = plan.weights(module)
    parts = _heavy(plan.parts(module, weights.tolist()))
    if plan.op.kind != "coefficients":
        if settings.get("normalize"):
            settings["lam"] = settings["lam"] * share
        here = [replace(part, weight=part.weight * share) for part in parts]
        return here, settings
    if not parts:
        return [], {}
    inner = None
    if not plan.op.gram:
        pass
    elif survey is not None:
        here_only = weights != 0
        inner = survey.grams[module][here_only][:, here_only]
    else:
        inner = gram(parts)
    coefficients = plan.op.load()(inner, weights[weights != 0], **settings) * share
    return [
        replace(part, weight=c) for part, c in zip(parts, coefficients.tolist(), strict=True)
    ], {}


def _heavy(parts: list[Part]) -> list[Part]:
    return [part for part in parts if part.weight != 0]
