"""What mlx-lm writes where PEFT writes an adapter: other names, transposed factors, one scale.

mlx-lm computes ``y + scale · ((x · lora_a) · lora_b)`` with lora_a (d_in, rank) and lora_b
(rank, d_out), so A and B are their transposes and the scale is the delta's own factor. The
modules are called as in the model's checkpoint.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from hivelearn.patch.errors import AdapterError
from hivelearn.patch.module_names import KeysByModule, unwrapped
from hivelearn.patch.safetensors_header import allowed
from hivelearn.printable import shown

WEIGHTS_FILE: Final = "adapters.safetensors"
_FACTORS: Final = {"lora_a": "A", "lora_b": "B"}


def is_one(config: Mapping[str, Any]) -> bool:
    """Return whether an ``adapter_config.json`` is mlx-lm's."""
    return "peft_type" not in config and "lora_parameters" in config


def factor_keys(keys: Iterable[str]) -> KeysByModule:
    """Return where the factors of each module lie, sorted by module.

    Raises:
        AdapterError: something else is there too, such as a magnitude vector.
    """
    found: KeysByModule = {}
    for name in sorted(keys):
        path, _, last = name.rpartition(".")
        module = unwrapped(path)
        if last not in _FACTORS or not allowed(module):
            raise AdapterError(
                f"the mlx-lm adapter holds {name[:80]!r}, which is no LoRA factor",
                remedy="Train it with fine_tune_type: lora, on linear layers alone.",
            )
        found.setdefault(module, {})[_FACTORS[last]] = name
    lone = next((module for module, pair in found.items() if len(pair) == 1), None)
    if lone is not None:
        raise AdapterError(f"the mlx-lm adapter holds one factor of {lone} alone")
    return found


def scale(config: Mapping[str, Any]) -> float:
    """Return the factor before ``B · A``.

    Raises:
        AdapterError: another kind of fine-tuning than LoRA, or no scale that is a number.
    """
    kind, told = config.get("fine_tune_type", "lora"), config["lora_parameters"]
    if kind != "lora":
        raise AdapterError(
            f"the mlx-lm adapter is of type {shown(kind)}, not lora",
            remedy="Train it with fine_tune_type: lora.",
        )
    found = told.get("scale") if isinstance(told, Mapping) else None
    if type(found) is bool or not isinstance(found, int | float) or not 0 < found < math.inf:
        raise AdapterError(
            f"the mlx-lm adapter says scale={shown(found)}",
            remedy="Write the scale that it was trained with under lora_parameters.",
        )
    if "alpha" in told:  # early versions multiplied by alpha / rank besides, later ones ignore it
        raise AdapterError(
            "the mlx-lm adapter gives alpha beside scale, whose meaning changed between versions",
            remedy="Leave alpha out of lora_parameters, and write as scale what multiplied the "
            "product: scale · alpha / rank in mlx-lm before fine_tune_type, else scale.",
        )
    return float(found)
