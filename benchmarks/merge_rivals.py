"""What people merge with today, called the way they call it: PEFT, mergekit, byzfl.

A rival that is not installed is None, and its row says so.
"""

import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]  # A (r, d_in), B (d_out, r); the delta is B @ A


def dense(pairs: Sequence[Pair]) -> list[Tensor]:
    """Return the deltas as whole float32 matrices."""
    return [b.float() @ a.float() for a, b in pairs]


class _One(nn.Module):
    """A model of one linear layer."""

    def __init__(self, d_out: int, d_in: int) -> None:
        super().__init__()
        self.proj = nn.Linear(d_in, d_out, bias=False)


def peft_call(pairs: Sequence[Pair], **how: Any) -> Callable[[], object] | None:
    """Return PEFT's `add_weighted_adapter` on these adapters of one layer."""
    try:
        from peft import LoraConfig, PeftModel
    except ImportError:
        return None
    rank, d_in = pairs[0][0].shape
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=["proj"])
    model: Any = PeftModel(_One(pairs[0][1].shape[0], d_in), config, adapter_name="a0")
    for n in range(1, len(pairs)):
        model.add_adapter(f"a{n}", config)
    for n, (a, b) in enumerate(pairs):
        layer = model.base_model.model.proj
        layer.lora_A[f"a{n}"].weight.data = a.float()
        layer.lora_B[f"a{n}"].weight.data = b.float()
    names = [f"a{n}" for n in range(len(pairs))]
    weights = [1.0 / len(pairs)] * len(pairs)

    def call() -> None:
        model.base_model.add_weighted_adapter(names, weights, "merged", **how)
        model.base_model.delete_adapter("merged")

    return call


def mergekit_call(
    deltas: Sequence[Tensor], method: str, *, base: bool = True, **parameters: Any
) -> Callable[[], object] | None:
    """Return mergekit's `merge_tensors` on dense deltas, over a base of zeros if it wants one."""
    try:
        from mergekit.merge_methods import merge_tensors
    except ImportError:
        return None
    tensors = [torch.zeros_like(deltas[0]), *deltas] if base else list(deltas)
    where = 0 if base or method == "slerp" else None
    return lambda: merge_tensors(tensors, method, parameters=parameters, base_index=where)


def byzfl_median(deltas: Sequence[Tensor]) -> Callable[[], object] | None:
    """Return byzfl's geometric median of the flattened deltas."""
    spec = importlib.util.find_spec("byzfl")
    if spec is None or spec.submodule_search_locations is None:
        return None
    if "byzfl" not in sys.modules:  # its own __init__ needs a torchvision that fits no CPU torch
        package = types.ModuleType("byzfl")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["byzfl"] = package
    from byzfl.aggregators.aggregators import GeometricMedian

    flat = torch.stack([delta.flatten() for delta in deltas])
    return lambda: GeometricMedian()(flat)
