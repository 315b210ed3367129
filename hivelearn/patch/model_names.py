"""What a model calls its modules, and what transformers calls the same modules elsewhere.

Names on disk, names in memory and names of an earlier version differ by transformers' own
conversion tables (Gemma 3 and LLaVA move their language model, Mixtral's experts become one
tensor). Those tables are asked at run time, never copied: whatever transformers can load is
found here under the same name. What they do not know (the inner model alone, a larger one
around it) is matched only if one module of the model can be meant.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Self

from hivelearn.patch.module_names import core, tails, unwrapped

_WEIGHT: Final = ".weight"


@dataclass(frozen=True, eq=False)
class ModelNames:
    """The modules of one model.

    Attributes:
        tensors: names of all parameters in memory, without what wraps the model.
    """

    tensors: frozenset[str]
    _renamings: list[Any] = field(default_factory=list)
    _converters: list[Any] = field(default_factory=list)
    _inner: str | None = None  # what the class calls the model without its head

    @classmethod
    def of(cls, model: Any) -> Self:
        """Return the names of an open model, or of its skeleton; adapters in it do not count."""
        inside = model.get_base_model() if hasattr(model, "get_base_model") else model
        inside = getattr(inside, "_orig_mod", inside)
        named = inside.named_parameters(remove_duplicate=False)
        tensors = frozenset(unwrapped(name).replace(".base_layer.", ".") for name, _ in named)
        if not hasattr(inside, "base_model_prefix"):  # no model of transformers
            return cls(tensors)
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming

        table = get_model_conversion_mapping(inside)
        return cls(
            tensors,
            [row for row in table if isinstance(row, WeightRenaming)],
            [row for row in table if isinstance(row, WeightConverter)],
            inside.base_model_prefix,
        )

    def has(self, module: str) -> bool:
        """Return whether the model calls one of its modules so."""
        return module + _WEIGHT in self.tensors

    def in_memory(self, name: str) -> tuple[str, bool]:
        """Return what a tensor of a checkpoint is called in memory, and if it is a part there."""
        renamed, pattern = self._renamed(name)
        return renamed, pattern is not None

    def converter_of(self, name: str) -> tuple[Any, str] | None:
        """Return transformers' converter of a tensor of a checkpoint, with its pattern there."""
        _, pattern = self._renamed(name)
        rows = (row for row in self._converters if pattern in row.source_patterns)
        row = None if pattern is None else next(rows, None)
        return None if row is None or pattern is None else (row, pattern)

    def _renamed(self, name: str) -> tuple[str, str | None]:
        if self._inner is None:
            return name, None
        from transformers.core_model_loading import rename_source_key

        found: tuple[str, str | None] = rename_source_key(
            name, self._renamings, self._converters, self._inner, self._known
        )
        return found

    def part_of(self, module: str) -> str | None:
        """Return the tensor in memory of which the weight of ``module`` is a part, or None."""
        name, part = self.in_memory(module + _WEIGHT)
        return name if part and name in self.tensors and name != module + _WEIGHT else None

    def name_of(self, module: str) -> str | None:
        """Return what the model calls ``module``, however it is spelled; None if it has none.

        A module that is a part of one tensor in memory (an expert of Mixtral) keeps the name
        that it has on disk.
        """
        if self.has(module):
            return module
        name, part = self.in_memory(module + _WEIGHT)
        if name in self.tensors:
            return module if part else name.removesuffix(_WEIGHT)
        found = self._alike(module)
        return found.pop() if len(found) == 1 else None

    @cached_property
    def _known(self) -> dict[str, bool]:
        return dict.fromkeys(self.tensors, True)

    @cached_property
    def _modules(self) -> frozenset[str]:
        return frozenset(n.removesuffix(_WEIGHT) for n in self.tensors if n.endswith(_WEIGHT))

    @cached_property
    def _by_core(self) -> Mapping[str, set[str]]:
        found: dict[str, set[str]] = {}
        for module in self._modules:
            found.setdefault(core(module), set()).add(module)
        return found

    @cached_property
    def _by_tail(self) -> Mapping[str, set[str]]:
        found: dict[str, set[str]] = {}
        for module in self._modules:
            for tail in tails(module):
                found.setdefault(tail, set()).add(module)
        return found

    def _alike(self, module: str) -> set[str]:
        """Return the modules of which ``module`` may be another spelling."""
        found: AbstractSet[str] = self._by_core.get(core(module), set())
        if not found:  # the inner model's name, or that of a model around this one
            found = self._by_tail.get(module, set()) or self._modules & set(tails(module))
        return set(found)
