"""PEFT's folders in, factors out: opened from names and shapes alone, numbers when they are used.

A folder of mlx-lm is read too: its factors are the same, transposed, under names of its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from torch import Tensor

from hivelearn.patch import bounded_json, mlx_folder
from hivelearn.patch.alphas import Alphas
from hivelearn.patch.errors import AdapterError
from hivelearn.patch.limits import ALPHA_MAX, ALPHA_MIN
from hivelearn.patch.module_names import KeysByModule, factor_keys
from hivelearn.patch.origin import Origin
from hivelearn.patch.peft_config import CONFIG_FILE, WEIGHTS_FILE
from hivelearn.patch.plain_lora import FactorsByModule, folded, refuse_exotic, shape_of
from hivelearn.patch.safetensors_header import refuse_crowded
from hivelearn.printable import shown

_FLOATS: Final = ("F32", "BF16", "F16", "F64")
CONFIG_MAX_BYTES: Final = 4 << 20  # one of 10,000 modules, each with rank and alpha, is 1 MB
# Every module may have a rank, an alpha and a place among the targets; a list each is not seen.
_OBJECTS_MAX: Final = 1_024
_ITEMS_MAX: Final = 1 << 16


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
    _keys: KeysByModule
    _transposed: bool = False

    def read(self, module: str) -> tuple[Tensor, Tensor]:
        """Return (A, B) of ``module``; their pages are read when they are used."""
        a, b = (self._file.get_tensor(self._keys[module][factor]) for factor in "AB")
        return (a.T, b.T) if self._transposed else (a, b)


def open_folder(folder: Path) -> Folder:
    """Open a PEFT folder without reading its tensors.

    Raises:
        AdapterError: no such folder, not plain LoRA, pickled weights, or damaged.
    """
    _refuse_what_is_no_folder(folder)
    config = _config(folder)
    mlx = mlx_folder.is_one(config)
    if not mlx:
        refuse_exotic(config)
    weights = folder / (mlx_folder.WEIGHTS_FILE if mlx else WEIGHTS_FILE)
    if not weights.is_file():  # a pipe that nobody writes to would be waited for
        raise AdapterError(
            f"{folder} holds no {weights.name}",
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
    if not found:
        raise AdapterError(
            f"{weights} holds no tensor at all",
            remedy="The save went wrong, as it does under DeepSpeed ZeRO-3 without gathering: "
            "gather the weights and save again.",
        )
    keys = mlx_folder.factor_keys(found) if mlx else factor_keys(found)
    if mlx:
        found = {name: shape[::-1] for name, shape in found.items()}
    shapes = {module: shape_of(module, *(found[pair[f]] for f in "AB"))
              for module, pair in keys.items()}  # fmt: skip
    odd = next((name for name, kind in types.items() if kind not in _FLOATS), None)
    if odd is not None:
        raise AdapterError(
            f"{odd[:80]} is of type {types[odd]}; factors are {', '.join(_FLOATS)}",
            remedy="Save the adapter in float32, bfloat16 or float16; quantised factors are "
            "no factors any more.",
        )
    if mlx:
        scales, origin = dict.fromkeys(shapes, mlx_folder.scale(config)), Origin()
    else:
        _refuse_other_rank(config, shapes)
        scales, origin = _scales(config, shapes), Origin.of(config)
    _refuse_wild(scales, shapes)
    return Folder(folder, shapes, scales, origin, file, keys, _transposed=mlx)


def load(folder: Path) -> tuple[FactorsByModule, int, float, Origin]:
    """Return (factors, rank, alpha, origin) of a PEFT folder. Raises as :func:`open_folder`."""
    opened = open_folder(folder)
    factors = {module: opened.read(module) for module in opened.shapes}
    return *folded(factors, opened.scales), opened.origin


def _refuse_what_is_no_folder(given: Path) -> None:
    """Say what to give instead of a file, or of a name on a hub."""
    if given.is_dir():
        return
    if given.suffix == ".gguf":
        raise AdapterError(
            f"{given} is a GGUF file, which servers read and nobody merges",
            remedy="Give the PEFT folder that it was made from.",
        )
    if given.exists():
        raise AdapterError(
            f"{given} is a file, and an adapter is a folder", remedy=f"Give {given.parent}."
        )
    raise AdapterError(
        f"there is no folder {given}",
        remedy="Give the folder that PEFT's save_pretrained wrote; one that lies on a hub is "
        "fetched first: hl.Adapter.from_pretrained('owner/name').",
    )


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
    return scales


def _refuse_wild(scales: Mapping[str, float], shapes: Mapping[str, tuple[int, int, int]]) -> None:
    """Refuse alphas that are an attack or a mistake, and an adapter that is switched off."""
    for module, (*_, rank) in shapes.items():
        alpha = scales[module] * rank  # as if it were no rsLoRA; 0 switches a module off
        if alpha and not ALPHA_MIN <= alpha <= ALPHA_MAX:  # NaN fails this too
            raise AdapterError(
                f"{module}: an alpha of {alpha:g} is not in {ALPHA_MIN} … {ALPHA_MAX:g}"
            )
    if not any(scales.values()):
        raise AdapterError("an alpha of 0 switches the adapter off")
