"""One tensor in memory that is many on disk: the experts of a mixture, since transformers 5.

transformers takes the tensor apart as it would for saving, the parts are changed, and it puts
them together as it would for loading. Where they lie in it is transformers' own knowledge.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.checkpoint import FLOATS, Change
from hivelearn.merging.targets.misfits import quantised, unknown
from hivelearn.patch.model_names import ModelNames
from hivelearn.patch.module_names import core, unwrapped


class Fused:
    """Modules that are parts of one parameter of an open model."""

    def __init__(self, model: Any, names: ModelNames, whole: str, modules: Sequence[str]) -> None:
        """Find the parts.

        Args:
            model: open.
            names: its names.
            whole: the parameter's, in memory.
            modules: what the adapters call its parts.

        Raises:
            MergeError: a module is no part of it, it is not loaded or quantised, or
                transformers cannot put it together again as it was.
        """
        self._model, self._names, self._whole = model, names, whole
        held = {unwrapped(n): p for n, p in model.named_parameters(remove_duplicate=False)}
        self._parameter: Tensor = held[whole].data
        if self._parameter.is_meta or self._parameter.dtype not in FLOATS.values():
            raise quantised(whole)
        parts = self._apart()
        if not torch.equal(self._together(parts), self._parameter):
            raise MergeError(
                f"transformers cannot take {whole} apart and put it together again",
                remedy="Merge into the model's folder instead of the open model.",
            )
        by_core = {core(name.removesuffix(".weight")): name for name in parts}
        lost = next((module for module in modules if core(module) not in by_core), None)
        if lost is not None:
            raise unknown(lost)
        self._parts = {module: by_core[core(module)] for module in modules}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return module to the shape of its part."""
        parts = self._apart()
        return {module: tuple(parts[name].shape) for module, name in self._parts.items()}

    def apply(self, change: Change) -> None:
        """Change every part, then the parameter."""
        parts = self._apart()
        for module, name in self._parts.items():
            parts[name] = parts[name].clone()  # it may be a view of the parameter
            change(module, parts[name])
        self._parameter.copy_(self._together(parts))

    def _apart(self) -> dict[str, Tensor]:
        from transformers.core_model_loading import revert_weight_conversion

        found: dict[str, Tensor] = revert_weight_conversion(
            self._model, {self._whole: self._parameter}
        )
        return found

    def _together(self, parts: dict[str, Tensor]) -> Tensor:
        from transformers.core_model_loading import dot_natural_key

        converter = None
        for name in sorted(parts, key=dot_natural_key):  # experts by number: 2 before 10
            found = self._names.converter_of(name)
            if found is None:
                raise unknown(name.removesuffix(".weight"))
            row, pattern = found
            converter = converter or deepcopy(row)
            converter.add_tensor(self._whole, name, pattern, parts[name])
        assert converter is not None
        config = self._model.config
        made = converter.convert(self._whole, model=self._model, config=config)
        table = made[0] if isinstance(made, tuple) else made  # with its errors, until 5.1
        (made,) = table.values()
        whole: Tensor = made[0] if isinstance(made, list) else made
        return whole
