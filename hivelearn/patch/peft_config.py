"""PEFT's ``adapter_config.json`` of plain factors: always made anew, never a peer's."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hivelearn.patch.origin import Origin

WEIGHTS_FILE: Final = "adapter_model.safetensors"
CONFIG_FILE: Final = "adapter_config.json"


def config(
    modules: Sequence[str], rank: int, alpha: float, origin: Origin | None = None
) -> dict[str, object]:
    """Return the configuration under which PEFT computes ``(alpha / rank) · B @ A`` there."""
    origin = origin or Origin()
    return {
        "peft_type": "LORA",
        "task_type": origin.task,
        "base_model_name_or_path": origin.model,
        "r": rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "fan_in_fan_out": False,
        "modules_to_save": None,
        **_targeting(modules),
        "inference_mode": True,
    }


def config_text(config: Mapping[str, object]) -> str:
    """Return a configuration as the file holds it."""
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def layer_of(module: str) -> int | None:
    """Return the first number in a module's name: its layer."""
    return next((int(part) for part in module.split(".") if part.isdigit()), None)


def layers(modules: Iterable[str]) -> tuple[int, ...]:
    """Return the layers of these modules, sorted, each once."""
    found = {layer_of(module) for module in modules}
    return tuple(sorted(number for number in found if number is not None))


def _targeting(modules: Sequence[str]) -> dict[str, object]:
    """Name exactly these modules: PEFT would wrap whatever else a short name matches.

    If every layer has the same modules: their names inside a layer (what
    servers expect) and the layers' numbers. Else full names.
    """
    inside: dict[str, set[str]] = {}
    for name in modules:
        parts = name.split(".")
        after = next((i + 1 for i, part in enumerate(parts) if part.isdigit()), 0)
        inside.setdefault(".".join(parts[:after]), set()).add(".".join(parts[after:]))
    alike = {frozenset(names) for names in inside.values()}
    # PEFT finds a layer's number behind two names or more ("model.layers.0."). An encoder has
    # the same numbers and names as the decoder beside it, whether it was trained or not.
    countable = all(prefix.count(".") > 1 and "coder." not in prefix for prefix in inside)
    numbers = layers(modules)
    if len(alike) == 1 and countable and len(inside) == len(numbers):
        return {"target_modules": sorted(next(iter(alike))), "layers_to_transform": list(numbers)}
    return {"target_modules": list(modules)}
