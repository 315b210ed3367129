"""A merge applied to a whole model: dense deltas go into its weights, without loss.

A TIES merge of deltas is not low-rank (at rank 16 recompression lost .64 of it),
so its honest result is a model, not an adapter. The checkpoint is copied tensor
by tensor, header and all; what a merged module names is changed on the way. One
tensor is in memory at a time.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import IO, Any, Final

import torch
from torch import Tensor

from hivelearn.merging import operate
from hivelearn.merging.errors import MergeError
from hivelearn.merging.merge import Way
from hivelearn.merging.parts import Rows
from hivelearn.merging.plan import Plan, planned
from hivelearn.merging.recipe import MergeRecipe
from hivelearn.merging.sink import unwritable
from hivelearn.merging.sources import Mergeable, octets, open_all
from hivelearn.merging.survey import surveyed
from hivelearn.merging.weigh import adapter_wide, weighed, whole_coefficients
from hivelearn.patch import fingerprint
from hivelearn.report.progress import Progress

Change = Callable[[str, Tensor], None]  # (module, its weight as (d_out, d_in)), in place

_FLOATS: Final = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_COPY_BYTES: Final = 1 << 20
_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


def merge_into(
    base: Any, sources: Sequence[Mergeable], recipe: MergeRecipe, way: Way | None = None
) -> Any:
    """Merge adapters and add the result to a model's weights.

    Args:
        base: folder of a model with safetensors weights, or an open transformers model.
        sources: as for :func:`hivelearn.merging.merge.merge`.
        recipe: how; its rank and energy are not used, nothing is recompressed.
        way: ``way.out`` is the folder to write; an open model is changed in place.

    Returns:
        The folder that was written, as a Path, or the open model.

    Raises:
        MergeError: a module has no weight of its name and shape; the sources belong
            to another model; the model is quantised; the folder cannot be written.
    """
    way = way or Way()
    plan = planned(open_all(sources), recipe, way.trust)
    with Progress(way.progress, f"merge {recipe.method}", len(plan.modules)) as shown:
        done = count(1)
        deltas = _deltas(plan)

        def change(module: str, weight: Tensor) -> None:
            shown.at(next(done), module)
            _add(weight, deltas(module), plan.shape(module), module)

        if isinstance(base, str | os.PathLike):
            return _folder(Path(base), plan, way, change)
        return _model(base, plan, change)


def _deltas(plan: Plan) -> Callable[[str], Rows | None]:
    """Return the maker of a module's merged rows; None where nobody has a weight."""
    wide = adapter_wide(plan)
    survey = surveyed(plan, lambda _module: None) if wide else None
    whole = whole_coefficients(plan, survey) if survey is not None else None

    def made(module: str) -> Rows | None:
        found = weighed(plan, module, survey, whole)
        return operate.rows(plan.op, found.parts, found.settings) if found.parts else None

    return made


def _add(weight: Tensor, rows: Rows | None, shape: tuple[int, int], module: str) -> None:
    """Add the rows to ``weight``, (d_out, d_in) of any float type, rounding once."""
    if tuple(weight.shape) != shape:
        raise MergeError(
            f"{module} is {' x '.join(map(str, shape))} in the adapters and "
            f"{' x '.join(map(str, weight.shape))} in the model",
            remedy="Merge into the model that the adapters were trained on.",
        )
    for place, block in rows() if rows is not None else ():
        weight[place] = (weight[place].float() + block.to(weight.device)).to(weight.dtype)


def _model(model: Any, plan: Plan, change: Change) -> Any:
    places = dict(model.named_modules())
    missing = [module for module in plan.modules if not hasattr(places.get(module), "weight")]
    if missing:
        raise _unknown(missing[0])
    with torch.no_grad():
        for module in plan.modules:
            weight = places[module].weight.data
            if not weight.is_floating_point():
                raise _quantised(module)
            change(module, weight.T if _is_transposed(places[module]) else weight)
    return model


def _is_transposed(module: Any) -> bool:
    return type(module).__name__ == "Conv1D"  # GPT-2 keeps (d_in, d_out)


def _unknown(module: str) -> MergeError:
    return MergeError(
        f"the model has no weight for {module}",
        remedy="Merge into the model that the adapters were trained on.",
    )


def _quantised(module: str) -> MergeError:
    return MergeError(
        f"{module} is quantised in the model, and a delta would be lost in its steps",
        remedy="Give the checkpoint in float32, bfloat16 or float16.",
    )


def _folder(base: Path, plan: Plan, way: Way, change: Change) -> Path:
    if way.out is None:
        raise MergeError("nowhere to write the merged model", remedy="Give way=Way(out=folder).")
    out = Path(way.out)
    if plan.base is not None and fingerprint.of_folder(base) != plan.base:
        raise MergeError(f"the adapters belong to another model than {base}")
    files = fingerprint.weight_files(base)
    if not files or not (base / "config.json").exists():
        raise MergeError(f"{base} holds no config.json with *.safetensors")
    if out.exists() and any(out.iterdir()):
        raise MergeError(f"{out} is not empty", remedy="Give a folder that is new or empty.")
    tensors = _tensor_names(base, plan, {name for file in files for name in _header(file)[0]})
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file in files:
            _copy(file, out / file.name, tensors, change)
        for file in base.iterdir():
            if file.is_file() and file.suffix not in _WEIGHTS:
                shutil.copyfile(file, out / file.name)
    except BaseException as error:
        shutil.rmtree(out, ignore_errors=True)  # half a model would load as a wrong one
        if isinstance(error, OSError):
            raise unwritable(out, error) from None
        raise
    return out


def _tensor_names(base: Path, plan: Plan, names: set[str]) -> dict[str, tuple[str, bool]]:
    """Return checkpoint name to (module, transposed) for all that will change."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):  # shapes and types of modules, no numbers
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    places = dict(model.named_modules())
    prefix = f"{model.base_model_prefix}."
    found = {}
    for module in plan.modules:
        # A checkpoint may be of the inner model: GPT-2's is.
        name = next((n for n in (f"{module}.weight", f"{module.removeprefix(prefix)}.weight")
                     if n in names), None)  # fmt: skip
        if name is None or module not in places:
            raise _unknown(module)
        found[name] = (module, _is_transposed(places[module]))
    return found


def _header(file: Path) -> tuple[dict[str, Any], bytes]:
    """Return the table of a safetensors file and its head's bytes, length included."""
    with file.open("rb") as stream:
        size = stream.read(8)
        raw = stream.read(int.from_bytes(size, "little"))
    try:
        table = json.loads(raw)
        table.pop("__metadata__", None)
        for row in table.values():
            row["dtype"], row["shape"], row["data_offsets"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise MergeError(
            f"{file} is damaged: its header is not that of a safetensors file",
            remedy="Download or save the model again.",
        ) from None
    return table, size + raw


def _copy(file: Path, to: Path, tensors: dict[str, tuple[str, bool]], change: Change) -> None:
    table, head = _header(file)
    with file.open("rb") as stream, to.open("wb") as out:
        out.write(head)
        stream.seek(len(head))
        for name, row in sorted(table.items(), key=lambda item: item[1]["data_offsets"]):
            start, end = row["data_offsets"]
            if name not in tensors:
                for block in _blocks(stream, end - start):
                    out.write(block)
                continue
            module, transposed = tensors[name]
            if row["dtype"] not in _FLOATS:
                raise _quantised(module)
            raw = torch.frombuffer(bytearray(stream.read(end - start)), dtype=torch.uint8)
            weight = raw.view(_FLOATS[row["dtype"]]).view(row["shape"])
            change(module, weight.T if transposed else weight)
            out.write(octets(weight))


def _blocks(stream: IO[bytes], left: int) -> Iterator[bytes]:
    while left > 0:
        block = stream.read(min(left, _COPY_BYTES))
        if not block:
            raise OSError("a safetensors file ends before its last tensor")
        left -= len(block)
        yield block
