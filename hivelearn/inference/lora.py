"""Adapters act through forward hooks, for the length of one call.

``y = W x`` becomes ``y + scale · B (A x)``, in PEFT's order of operations, so
that the logits are bit-equal to PEFT's. Nothing is injected into the model, no
adapter is "active": the model that another thread or another library holds is
the base again as soon as the call ends. Why not PEFT's injection: docs/adr/0001.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from hivelearn.inference.engine import AdapterMismatchError
from hivelearn.patch import safetensors_header as header
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.model_names import ModelNames

Factors = Mapping[str, tuple[Tensor, Tensor]]


def linear_shapes(model: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """Return (d_out, d_in) of each linear layer but the head, sorted by name.

    The output head is left out as PEFT's "all-linear" does: it is often tied to
    the embedding, and several servers refuse adapters on it.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    shapes = {}
    for name, module in model.named_modules():
        if module is head or not header.allowed(name):
            continue
        if isinstance(module, torch.nn.Linear):
            shapes[name] = (module.out_features, module.in_features)
        elif isinstance(module, Conv1D):  # GPT-2 keeps its weights transposed
            shapes[name] = (module.nf, module.nx)
    return dict(sorted(shapes.items()))


def left_out(model: torch.nn.Module) -> tuple[str, ...]:
    """Return the kinds of matrices that no LoRA here reaches, sorted, without layer numbers.

    A mixture's experts are one tensor since transformers 5 and its router is a class of its
    own, so "all-linear" is attention alone there. Embeddings and the head are left out on
    purpose and not named.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    known = set()
    for module in model.modules():
        if module is head or isinstance(module, torch.nn.Linear | Conv1D | torch.nn.Embedding):
            known |= {id(weight) for weight in module.parameters(recurse=False)}
    found = {
        ".".join(part for part in name.split(".") if not part.isdigit())
        for name, weight in model.named_parameters()
        if weight.ndim > 1 and id(weight) not in known
    }
    return tuple(sorted(found))


def named_as(shapes: Mapping[str, tuple[int, int]], adapter: Adapter) -> Adapter:
    """Return ``adapter`` with the model's own names, where it spells them in another way.

    A name of which the model has no single counterpart stays, and :func:`check_fits` tells it.
    """
    names = ModelNames(frozenset(f"{name}.weight" for name in shapes))
    spelled = {names.name_of(module) or module: pair for module, pair in adapter.factors.items()}
    if len(spelled) < len(adapter.factors) or spelled.keys() == adapter.factors.keys():
        return adapter
    return replace(adapter, factors=spelled)


def weight_norms(model: torch.nn.Module, names: Iterable[str]) -> dict[str, float]:
    """Return the Frobenius norm of the weight of each named linear layer."""
    modules = dict(model.named_modules())
    return {
        name: float(torch.linalg.vector_norm(modules[name].weight, dtype=torch.float32))
        for name in names
    }


def check_fits(shapes: Mapping[str, tuple[int, int]], adapter: Adapter) -> None:
    """Raise AdapterMismatchError unless every factor fits a linear layer of the model."""
    for name, (a, b) in adapter.factors.items():
        if name not in shapes:
            raise AdapterMismatchError(f"the model has no linear layer {name!r}")
        if (b.shape[0], a.shape[1]) != shapes[name]:
            raise AdapterMismatchError(
                f"{name}: the adapter is {b.shape[0]}×{a.shape[1]}, the layer "
                f"{shapes[name][0]}×{shapes[name][1]}"
            )


@contextmanager
def attach(model: torch.nn.Module, factors: Factors, scale: float) -> Iterator[None]:
    """Let ``factors`` act on ``model`` inside the block.

    Args:
        model: the resident base model.
        factors: module name to (A (r, d_in), B (d_out, r)) on the model's device.
        scale: before ``B (A x)``.
    """
    modules = dict(model.named_modules())
    handles = []
    try:
        for name, (a, b) in factors.items():
            handles.append(modules[name].register_forward_hook(_hook(a, b, scale)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(a: Tensor, b: Tensor, scale: float) -> Any:
    def add(_module: object, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = args[0].to(a.dtype)
        changed = output + F.linear(F.linear(x, a), b) * scale
        return changed.to(output.dtype)

    return add
