"""Open PEFT models in, factors out, however the model is wrapped, compiled or scattered."""

from collections.abc import Mapping
from typing import Any

import torch

from hivelearn.patch.errors import AdapterError
from hivelearn.patch.module_names import unwrapped
from hivelearn.patch.origin import Origin
from hivelearn.patch.plain_lora import FactorsByModule, folded, refuse_exotic, shape_of
from hivelearn.printable import shown


def from_model(model: Any, adapter_name: str | None) -> tuple[FactorsByModule, int, float, Origin]:
    """Return (factors, rank, alpha, origin) of a PEFT model's adapter (the active one by default).

    The factors are copies: training on does not change them.

    Args:
        model: what PEFT's ``get_peft_model`` returned, or a transformers model with an
            adapter; also inside torch.compile, DistributedDataParallel or DeepSpeed's engine.
        adapter_name: which, where there are many.

    Raises:
        AdapterError: not a PEFT model, the adapter is not plain LoRA, or its weights are
            scattered over several processes.
    """
    model = _inside(model)
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, Mapping) or not configs:
        raise _no_adapter(model)
    chosen = _active(model) if adapter_name is None else adapter_name
    if chosen not in configs:
        raise AdapterError(
            f"the model has no adapter {shown(chosen)}, only {', '.join(sorted(configs))}",
            remedy=f"Say adapter_name={min(configs)!r}, or load the other one first.",
        )
    told = configs[chosen].to_dict()
    refuse_exotic(told)
    factors: FactorsByModule = {}
    scales = {}
    for path, module in model.named_modules():
        name = unwrapped(path)
        if chosen in getattr(module, "lora_embedding_A", ()):
            raise AdapterError(
                f"the adapter changes the embedding {name!r}",
                remedy="Leave the embedding out of target_modules.",
            )
        if chosen in getattr(module, "lora_A", ()):
            if name in factors:
                raise AdapterError(f"two modules of the model are called {name!r}")
            pair = module.lora_A[chosen].weight, module.lora_B[chosen].weight
            shape_of(name, *(_whole_shape(name, each) for each in pair))
            a, b = (each.detach().clone() for each in pair)
            factors[name] = a, b
            scales[name] = float(module.scaling[chosen])
    if not factors:
        raise AdapterError(f"adapter {chosen!r} touches no linear layer")
    return *folded(factors, scales), Origin.of(told)


def _inside(model: Any) -> Any:
    """Return the model that a data-parallel engine holds, if it is one."""
    while not hasattr(model, "peft_config") and isinstance(
        inner := getattr(model, "module", None), torch.nn.Module
    ):
        model = inner
    return model


def _no_adapter(model: Any) -> AdapterError:
    """Return the error for a model without one; a part of it may be a PEFT model."""
    parts = model.named_modules() if isinstance(model, torch.nn.Module) else ()
    place = next((path for path, part in parts if path and hasattr(part, "peft_config")), None)
    if place is not None:
        return AdapterError(
            f"{type(model).__name__} carries its PEFT adapter inside, in {place!r}",
            remedy=f"Give that part: hl.Adapter.from_model(model.{place}).",
        )
    return AdapterError(
        f"{type(model).__name__} carries no PEFT adapter",
        remedy="Wrap it with peft.get_peft_model(model, LoraConfig(...)) and train it first.",
    )


def _whole_shape(module: str, weight: Any) -> tuple[int, ...]:
    """Return the shape of a factor that is whole here.

    Raises:
        AdapterError: this process holds a part of it (FSDP) or nothing (meta device).
    """
    if weight.is_meta or hasattr(weight, "full_tensor"):
        where = "on the meta device" if weight.is_meta else "scattered over several processes"
        raise AdapterError(
            f"the factors of {module} are {where}",
            remedy="Gather them first: save the adapter with the trainer or with "
            "accelerator.get_state_dict(model), then hl.Adapter.load(folder).",
        )
    return tuple(weight.shape)


def _active(model: Any) -> str:
    """Return the name of the one active adapter, of a PeftModel or a transformers model."""
    active = model.active_adapters
    names = list(active() if callable(active) else active)
    if len(names) != 1:
        raise AdapterError(
            f"the model has {len(names)} active adapters: {', '.join(names)}",
            remedy="Say which: hl.Adapter.from_model(model, adapter_name=...).",
        )
    return str(names[0])
