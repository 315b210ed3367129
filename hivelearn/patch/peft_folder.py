"""PEFT's folders and open models in, factors out: what a LoRA from elsewhere really is.

Everything that changes the function beyond ``scale · B · A`` is refused by
name. Scales that differ by module (rsLoRA, ``alpha_pattern``) and ranks that
differ (``rank_pattern``) are folded exactly: B carries the scale, zeros fill
up the rank.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hivelearn.patch.adapter import CONFIG_FILE, WEIGHTS_FILE, AdapterError
from hivelearn.patch.header import key

Factors = dict[str, tuple[Tensor, Tensor]]

_PREFIX: Final = "base_model.model."
# Settings under which the delta is not (alpha / r) · B · A, and their harmless values.
_HARMLESS: Final[Mapping[str, tuple[object, ...]]] = {
    "use_dora": (False, None),
    "lora_bias": (False, None),
    "bias": ("none", None),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
    "use_qalora": (False, None),
    "alora_invocation_tokens": (None, []),
    "layer_replication": (None, []),
}


def refuse_exotic(config: Mapping[str, Any]) -> None:
    """Raise AdapterError if ``config`` (PEFT's, as a mapping) is not plain LoRA."""
    kind = str(getattr(config.get("peft_type"), "value", config.get("peft_type")))
    if kind != "LORA":
        raise AdapterError(f"the adapter is of type {kind}, not LORA")
    for name, harmless in _HARMLESS.items():
        if config.get(name) not in harmless:
            raise AdapterError(f"the adapter uses {name}={config[name]!r}")
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.split("_")[0] in ("pissa", "olora", "corda", "loftq"):
        raise AdapterError(
            f"init_lora_weights={init!r} changes the base model, so its factors alone mean nothing",
            remedy="Convert it with PEFT's `path_initial_model_for_weight_conversion` first.",
        )


def load(folder: Path) -> tuple[Factors, int, float]:
    """Return (factors, rank, alpha) of a PEFT folder.

    Raises:
        AdapterError: no such folder, not plain LoRA, pickled weights, or damaged.
    """
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AdapterError(
            f"{folder} holds no {CONFIG_FILE}",
            remedy="Give the folder that PEFT's save_pretrained wrote.",
        ) from None
    except ValueError as error:
        raise AdapterError(f"{folder / CONFIG_FILE} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{folder / CONFIG_FILE} is not a JSON object")
    refuse_exotic(config)
    weights = folder / WEIGHTS_FILE
    if not weights.exists():
        raise AdapterError(
            f"{folder} holds no {WEIGHTS_FILE}",
            remedy="Save it with safe_serialization=True; pickled weights can run code.",
        )
    try:
        with safe_open(weights, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise AdapterError(f"{weights} is damaged: {error}") from None
    return _fold(_pair(tensors), lambda module, rank: _scale(config, module, rank))


def _pair(tensors: Mapping[str, Tensor]) -> Factors:
    modules = {name.removesuffix(".lora_A.weight") for name in tensors} & {
        name.removesuffix(".lora_B.weight") for name in tensors
    }
    factors = {}
    for module in sorted(modules):
        short = module.removeprefix(_PREFIX)
        factors[short] = (tensors[key(short, "A")], tensors[key(short, "B")])
    foreign = set(tensors) - {key(module, factor) for module in factors for factor in "AB"}
    if foreign or not factors:
        name = min(foreign, default="no LoRA factor at all")
        raise AdapterError(f"the weights hold {name!r}, which is no LoRA factor")
    return factors


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if module == pattern or module.endswith("." + pattern):
            alpha = value
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def from_model(model: Any, name: str | None) -> tuple[Factors, int, float]:  # noqa: ANN401
    """Return (factors, rank, alpha) of a PEFT model's adapter (the active one by default).

    Raises:
        AdapterError: not a PEFT model, or the adapter is not plain LoRA.
    """
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, Mapping) or not configs:
        raise AdapterError(
            f"{type(model).__name__} carries no PEFT adapter",
            remedy="Wrap it with peft.get_peft_model(model, LoraConfig(...)) and train it first.",
        )
    chosen = name or getattr(model, "active_adapter", None) or next(iter(configs))
    chosen = chosen() if callable(chosen) else chosen
    if chosen not in configs:
        raise AdapterError(f"the model has no adapter {chosen!r}, only {sorted(configs)}")
    refuse_exotic(configs[chosen].to_dict())
    factors, scales = {}, {}
    for path, module in model.named_modules():
        if chosen in getattr(module, "lora_A", ()):
            short = path.removeprefix(_PREFIX)
            factors[short] = (module.lora_A[chosen].weight, module.lora_B[chosen].weight)
            scales[short] = float(module.scaling[chosen])
    if not factors:
        raise AdapterError(f"adapter {chosen!r} touches no linear layer")
    return _fold(factors, lambda module, _rank: scales[module])


def _fold(factors: Factors, scale_of: Any) -> tuple[Factors, int, float]:  # noqa: ANN401
    """Give all modules one rank and one scale without changing any delta."""
    rank = max(a.shape[0] for a, _ in factors.values())
    scales = {module: scale_of(module, a.shape[0]) for module, (a, _) in factors.items()}
    scale = scales[min(scales)]
    folded = {}
    for module, (a, b) in factors.items():
        missing = rank - a.shape[0]
        wide_a = torch.nn.functional.pad(a.detach(), (0, 0, 0, missing)) if missing else a
        wide_b = torch.nn.functional.pad(b.detach(), (0, missing)) if missing else b
        same = scales[module] == scale
        folded[module] = (wide_a, wide_b if same else wide_b * (scales[module] / scale))
    return folded, rank, scale * rank
