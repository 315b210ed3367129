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
        # Full names, and no layers_to_transform: what PEFT takes for a layer's number is an
        # expert's in a mixture, and a vision tower has the names and numbers of the text's.
        "target_modules": list(modules),
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
