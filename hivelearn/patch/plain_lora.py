"""What a LoRA from elsewhere must be to be plain factors, and how it becomes them.

Everything that changes the function beyond ``scale · B · A`` is refused by
name, also what a later PEFT will invent: a setting that is neither known here
nor switched off is refused. Scales that differ by module (rsLoRA,
``alpha_pattern``) and ranks that differ (``rank_pattern``) are folded exactly:
B carries the scale, zeros fill up the rank.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from hivelearn.patch.errors import AdapterError
from hivelearn.patch.limits import ADAPTER_RANK_MAX
from hivelearn.patch.safetensors_header import DIM_MAX
from hivelearn.printable import shown

FactorsByModule = dict[str, tuple[Tensor, Tensor]]

# PEFT's settings under which the delta stays scale · B · A, whatever their value.
# Targets and ranks are read from the factors themselves.
_HARMLESS: Final = frozenset(
    "alpha_pattern auto_mapping base_model_name_or_path corda_config eva_config exclude_modules "
    "fan_in_fan_out inference_mode init_lora_weights layers_pattern layers_to_transform "
    "loftq_config lora_alpha lora_dropout lora_ga_config megatron_config megatron_core peft_type "
    "peft_version qalora_group_size r rank_pattern revision runtime_config target_modules "
    "task_type use_rslora".split()
)
_OFF: Final[tuple[object, ...]] = (None, False, "none", [], {}, set(), ())
# Ways to begin that leave the base as it is. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA
# subtract something from it, so their factors alone mean nothing.
_INITS: Final = (None, True, False, "gaussian", "eva", "orthogonal", "mica")


def refuse_exotic(config: Mapping[str, Any]) -> None:
    """Raise AdapterError if ``config`` (PEFT's, as a mapping) is not plain LoRA."""
    kind = str(getattr(config.get("peft_type"), "value", config.get("peft_type")))
    if kind != "LORA":
        raise AdapterError(f"the adapter is of type {kind[:40]}, not LORA")
    init = config.get("init_lora_weights")
    if init not in _INITS:
        raise AdapterError(
            f"init_lora_weights={shown(init)} changes the base model, so its factors alone mean "
            "nothing",
            remedy="Convert it with PEFT's `path_initial_model_for_weight_conversion` first.",
        )
    for name in sorted(config.keys() - _HARMLESS):
        if config[name] not in _OFF:
            raise AdapterError(f"the adapter uses {name[:80]}={shown(config[name])}")


def shape_of(module: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (d_out, d_in, rank) of factors with these shapes."""
    if 0 in (*a, *b):
        raise AdapterError(
            f"{module}: A {a} and B {b} hold no numbers",
            remedy="DeepSpeed ZeRO-3 and FSDP leave such shells: gather the weights before saving "
            "(accelerator.get_state_dict(model), or trainer.save_model with "
            "stage3_gather_16bit_weights_on_model_save), then give that folder.",
        )
    if (len(a), len(b)) != (2, 2) or a[0] != b[1] or not a[0]:
        raise AdapterError(f"{module}: A {a} and B {b} are no factors of one rank")
    if a[0] > ADAPTER_RANK_MAX or not 0 < min(b[0], a[1]) <= max(b[0], a[1]) <= DIM_MAX:
        raise AdapterError(
            f"{module}: A {a} and B {b} have a rank over {ADAPTER_RANK_MAX}, or a side not in "
            f"1 … {DIM_MAX}"
        )
    return b[0], a[1], a[0]


def folded(
    factors: FactorsByModule, scales: Mapping[str, float]
) -> tuple[FactorsByModule, int, float]:
    """Give all modules one rank and one scale without changing any delta."""
    rank = max(a.shape[0] for a, _ in factors.values())
    scale = max(scales.values())
    if not 0 < scale < math.inf:
        raise AdapterError(f"a scale of {scale} switches the adapter off")
    if set(scales.values()) != {scale}:
        # In float32: a bfloat16 B times a scale would lose what it does not show.
        factors = {
            module: (a.float(), b.float() * (scales[module] / scale))
            for module, (a, b) in factors.items()
        }
    made = {}
    for module, (a, b) in factors.items():
        missing = rank - a.shape[0]
        wide_a = torch.nn.functional.pad(a, (0, 0, 0, missing)) if missing else a
        wide_b = torch.nn.functional.pad(b, (0, missing)) if missing else b
        made[module] = (wide_a, wide_b)
    return made, rank, scale * rank
