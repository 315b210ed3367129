"""PEFT's folders and open models in, factors out: what a LoRA from elsewhere really is.

Everything that changes the function beyond ``scale · B · A`` is refused by
name, also what a later PEFT will invent: a setting that is neither known here
nor switched off is refused. Scales that differ by module (rsLoRA,
``alpha_pattern``) and ranks that differ (``rank_pattern``) are folded exactly:
B carries the scale, zeros fill up the rank.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hivelearn.patch import bounded_json
from hivelearn.patch.alphas import Alphas
from hivelearn.patch.errors import AdapterError
from hivelearn.patch.limits import ADAPTER_RANK_MAX, ALPHA_MAX, ALPHA_MIN
from hivelearn.patch.origin import Origin
from hivelearn.patch.peft_config import CONFIG_FILE, WEIGHTS_FILE
from hivelearn.patch.safetensors_header import DIM_MAX, allowed, key, refuse_crowded
from hivelearn.printable import shown

FactorsByModule = dict[str, tuple[Tensor, Tensor]]

_PREFIX: Final = "base_model.model."
# PEFT's settings under which the delta stays scale · B · A, whatever their value.
# Targets and ranks are read from the factors themselves.
_HARMLESS: Final = frozenset(
    "alpha_pattern auto_mapping base_model_name_or_path corda_config eva_config exclude_modules "
    "fan_in_fan_out inference_mode init_lora_weights layers_pattern layers_to_transform "
    "loftq_config lora_alpha lora_dropout lora_ga_config megatron_config megatron_core peft_type "
    "peft_version qalora_group_size r rank_pattern revision runtime_config target_modules "
    "task_type use_rslora".split()
)
_FLOATS: Final = ("F32", "BF16", "F16", "F64")
CONFIG_MAX_BYTES: Final = 4 << 20  # one of 10,000 modules, each with rank and alpha, is 1 MB
# Every module may have a rank, an alpha and a place among the targets; a list each is not seen.
_OBJECTS_MAX: Final = 1_024
_ITEMS_MAX: Final = 1 << 16
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


@dataclass(frozen=True, eq=False)
class Folder:
    """An open PEFT folder: shapes and scales are known, the numbers are still on disk.

    Attributes:
        path: the folder.
        shapes: module to (d_out, d_in, rank), sorted; ranks may differ.
        scales: module to the factor before ``B · A``, as PEFT computes it.
        origin: task and model, as its configuration names them.
    """

    path: Path
    shapes: Mapping[str, tuple[int, int, int]]
    scales: Mapping[str, float]
    origin: Origin
    _file: Any  # safetensors' handle: tensors are views of the mapped file

    def read(self, module: str) -> tuple[Tensor, Tensor]:
        """Return (A, B) of ``module``; their pages are read when they are used."""
        return self._file.get_tensor(key(module, "A")), self._file.get_tensor(key(module, "B"))


def open_folder(folder: Path) -> Folder:
    """Open a PEFT folder without reading its tensors.

    Raises:
        AdapterError: no such folder, not plain LoRA, pickled weights, or damaged.
    """
    config = _config(folder)
    refuse_exotic(config)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():  # a pipe that nobody writes to would be waited for
        raise AdapterError(
            f"{folder} holds no {WEIGHTS_FILE}",
            remedy="Save it with safe_serialization=True; pickled weights can run code.",
        )
    try:
        refuse_crowded(weights)
        file = safe_open(weights, framework="pt").__enter__()  # type: ignore[no-untyped-call]
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        found = {name: tuple(one.get_shape()) for name, one in slices.items()}
        types = {name: str(one.get_dtype()) for name, one in slices.items()}
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{weights} is damaged: {error}") from None
    shapes = _pair(found)
    odd = next((name for name, kind in types.items() if kind not in _FLOATS), None)
    if odd is not None:
        raise AdapterError(f"{odd} is of type {types[odd]}; factors are {', '.join(_FLOATS)}")
    _refuse_other_rank(config, shapes)
    return Folder(folder, shapes, _scales(config, shapes), Origin.of(config), file)


def load(folder: Path) -> tuple[FactorsByModule, int, float, Origin]:
    """Return (factors, rank, alpha, origin) of a PEFT folder. Raises as :func:`open_folder`."""
    opened = open_folder(folder)
    factors = {module: opened.read(module) for module in opened.shapes}
    return *_fold(factors, opened.scales), opened.origin


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        if not path.is_file():
            raise OSError("a pipe or a device")  # noqa: TRY301 - as if it were not there
        with path.open("rb") as file:
            raw = file.read(CONFIG_MAX_BYTES + 1)
        if len(raw) > CONFIG_MAX_BYTES:
            raise ValueError(f"longer than {CONFIG_MAX_BYTES} bytes")  # noqa: TRY301
        config = bounded_json.parsed(raw, objects_max=_OBJECTS_MAX, items_max=_ITEMS_MAX)
    except OSError:
        raise AdapterError(
            f"{folder} holds no {CONFIG_FILE} that can be read",
            remedy="Give the folder that PEFT's save_pretrained wrote.",
        ) from None
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{path} is not a JSON object")
    return config


def _pair(found: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, int, int]]:
    shapes = {}
    for name in sorted(found):
        module = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        first, second = key(module, "A"), key(module, "B")
        if name == first and second in found:
            if not allowed(module):
                raise AdapterError(
                    f"{module[:80]!r} cannot be the target of a LoRA",
                    remedy="Leave out the adapter that names it, or save it anew from its model.",
                )
            shapes[module] = _shape(module, found[first], found[second])
    foreign = set(found) - {key(module, factor) for module in shapes for factor in "AB"}
    if foreign or not shapes:
        copied = next((one for one in foreign if one.endswith(".base_layer.weight")), None)
        if copied is not None or any("lora_embedding_" in one for one in foreign):
            raise AdapterError(
                f"the weights hold {copied or min(foreign)!r}, of an embedding or an output layer",
                remedy="Save it with save_embedding_layers=False; a LoRA on the embedding itself "
                "has no place in a merge of linear layers.",
            )
        name = min(foreign, default="no LoRA factor at all")
        raise AdapterError(f"the weights hold {name!r}, which is no LoRA factor with its partner")
    return shapes


def _shape(module: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (d_out, d_in, rank) of factors with these shapes."""
    if (len(a), len(b)) != (2, 2) or a[0] != b[1] or not a[0]:
        raise AdapterError(f"{module}: A {a} and B {b} are no factors of one rank")
    if a[0] > ADAPTER_RANK_MAX or not 0 < min(b[0], a[1]) <= max(b[0], a[1]) <= DIM_MAX:
        raise AdapterError(
            f"{module}: A {a} and B {b} have a rank over {ADAPTER_RANK_MAX}, or a side not in "
            f"1 … {DIM_MAX}"
        )
    return b[0], a[1], a[0]


def _refuse_other_rank(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, int, int]]
) -> None:
    """Refuse weights that belong to another configuration: their scale would be guessed."""
    told = config.get("r")
    if told is None or config.get("rank_pattern"):
        return
    for module, (*_, rank) in shapes.items():
        if rank != told:
            raise AdapterError(
                f"{module} has rank {rank}, and {CONFIG_FILE} says r={shown(told)}",
                remedy="Save the adapter again, so that weights and configuration belong together.",
            )


def _scales(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, int, int]]
) -> dict[str, float]:
    """Return each module's factor before ``B · A`` as PEFT computes it."""
    try:
        alphas, by_root = Alphas(config), bool(config.get("use_rslora"))
        scales = {
            module: float(alphas.of(module)) / (math.sqrt(rank) if by_root else rank)
            for module, (*_, rank) in shapes.items()
        }
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise AdapterError(f"lora_alpha or alpha_pattern cannot be read: {error}") from None
    for module, (*_, rank) in shapes.items():
        alpha = scales[module] * rank  # as if it were no rsLoRA; 0 switches a module off
        if alpha and not ALPHA_MIN <= alpha <= ALPHA_MAX:  # NaN fails this too
            raise AdapterError(
                f"{module}: an alpha of {alpha:g} is not in {ALPHA_MIN} … {ALPHA_MAX:g}"
            )
    if not any(scales.values()):
        raise AdapterError("an alpha of 0 switches the adapter off")
    return scales


def from_model(model: Any, name: str | None) -> tuple[FactorsByModule, int, float, Origin]:
    """Return (factors, rank, alpha, origin) of a PEFT model's adapter (the active one by default).

    The factors are copies: training on does not change them.

    Raises:
        AdapterError: not a PEFT model, or the adapter is not plain LoRA.
    """
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, Mapping) or not configs:
        raise AdapterError(
            f"{type(model).__name__} carries no PEFT adapter",
            remedy="Wrap it with peft.get_peft_model(model, LoraConfig(...)) and train it first.",
        )
    chosen = _active(model) if name is None else name
    if chosen not in configs:
        raise AdapterError(f"the model has no adapter {chosen!r}, only {sorted(configs)}")
    told = configs[chosen].to_dict()
    refuse_exotic(told)
    factors, scales = {}, {}
    for path, module in model.named_modules():
        if chosen in getattr(module, "lora_embedding_A", ()):
            raise AdapterError(f"the adapter changes the embedding {path.removeprefix(_PREFIX)!r}")
        if chosen in getattr(module, "lora_A", ()):
            short = path.removeprefix(_PREFIX)
            a, b = module.lora_A[chosen].weight, module.lora_B[chosen].weight
            _shape(short, tuple(a.shape), tuple(b.shape))
            factors[short] = a.detach().clone(), b.detach().clone()
            scales[short] = float(module.scaling[chosen])
    if not factors:
        raise AdapterError(f"adapter {chosen!r} touches no linear layer")
    return *_fold(factors, scales), Origin.of(told)


def _active(model: Any) -> str:
    """Return the name of the one active adapter, of a PeftModel or a transformers model."""
    active = model.active_adapters
    names = list(active() if callable(active) else active)
    if len(names) != 1:
        raise AdapterError(
            f"the model has {len(names)} active adapters: {names}",
            remedy="Say which: hl.Adapter.from_model(model, name=...).",
        )
    return str(names[0])


def _fold(
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
    folded = {}
    for module, (a, b) in factors.items():
        missing = rank - a.shape[0]
        wide_a = torch.nn.functional.pad(a, (0, 0, 0, missing)) if missing else a
        wide_b = torch.nn.functional.pad(b, (0, missing)) if missing else b
        folded[module] = (wide_a, wide_b)
    return folded, rank, scale * rank
