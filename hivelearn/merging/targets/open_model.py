"""A merge goes into an open model, in place.

Everything that can be refused is refused before the first weight changes.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.checkpoint import FLOATS, Change
from hivelearn.merging.run.coefficients import ModuleInput
from hivelearn.merging.run.plan import MergePlan
from hivelearn.merging.targets.fused import Fused
from hivelearn.merging.targets.misfits import (
    is_transposed,
    quantised,
    refuse_misfit,
    refuse_shared,
    unknown,
)
from hivelearn.patch.model_names import ModelNames
from hivelearn.patch.module_names import unwrapped

InputOf = Callable[[str], ModuleInput]  # a module's name to what the method gets of it

_OPEN: Final = frozenset(FLOATS.values())


class OpenTarget:
    """An open model that a merge is added to."""

    def __init__(self, model: Any) -> None:
        """Refuse what is no model, or has an adapter of its own."""
        if not isinstance(model, torch.nn.Module):
            raise MergeError(
                f"a {type(model).__name__} is no model",
                remedy="Give the folder of a model, or an open transformers model.",
            )
        if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
            raise MergeError(
                "the model is wrapped by PEFT, with an adapter of its own in it",
                remedy="Give model.unload(), the model without it; or merge the adapter with the "
                "others: hl.merge([model, ...]).",
            )
        self._model = model
        self.names = ModelNames.of(model)

    def merge(self, plan: MergePlan, input_of: InputOf, change: Change) -> Any:
        """Change every module of the plan; return the model."""
        places = {unwrapped(path): part for path, part in self._model.named_modules()}
        weights, experts = {}, dict[str, list[str]]()
        for module in plan.modules:
            whole = None if module in places else self.names.part_of(module)
            if whole is None:
                weights[module] = _open_weight(places.get(module), module)
            else:
                experts.setdefault(whole, []).append(module)
        for module, weight in weights.items():
            refuse_misfit(module, weight.shape, plan.shape(module))
        fused = [Fused(self._model, self.names, whole, parts) for whole, parts in experts.items()]
        for one in fused:
            for module, shape in one.shapes().items():
                refuse_misfit(module, shape, plan.shape(module))
        refuse_shared(self._model, plan.modules)
        for module in plan.modules:
            plan.refuse_broken(module)
            input_of(module)  # weights that cancel are known before the first add
        with torch.no_grad():
            for module, weight in weights.items():
                change(module, weight)
            for one in fused:
                one.apply(change)
        return self._model


def _open_weight(place: Any, module: str) -> Tensor:
    """Return the module's weight as (d_out, d_in), a view that can be added to."""
    held = getattr(place, "weight", None)
    if not isinstance(held, Tensor):
        raise unknown(module)
    weight: Tensor = held.data
    if weight.is_meta:
        raise MergeError(
            f"the weight of {module} is not loaded (it is on the meta device)",
            remedy="Open the whole model, with device_map='cpu', or give its folder.",
        )
    # Libraries that quantise show a float type on tensors of their own class.
    if weight.dtype not in _OPEN or type(weight) is not Tensor:
        raise quantised(module)
    return weight.mT if is_transposed(place) else weight
