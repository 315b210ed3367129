"""A model on disk as a merge reads it: judged from its headers first, then copied byte by byte.

Whatever is wrong here is told of the base. Writing is somebody else's: an error
of the operating system that leaves this file means the place that is written.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.sources import octets
from hivelearn.patch import fingerprint

Change = Callable[[str, Tensor], None]  # (module, its weight as (d_out, d_in)), in place
TensorTable = dict[str, dict[str, Any]]  # tensor's name to its dtype, shape and data_offsets

FLOATS: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
}
_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_CONFIG: Final = "config.json"
_COPY_BYTES: Final = 1 << 20
_LENGTH_BYTES: Final = 8
_HEADER_MAX: Final = 100 << 20  # safetensors' own limit
_ERROR_MAX: Final = 200  # characters of transformers' pages of advice that are worth repeating
# What reading a cut, foreign or mistyped file can raise.
_DAMAGE: Final = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def files_of(base: Path) -> list[Path]:
    """Return the weight files of a model's folder; all of them are there.

    Raises:
        MergeError: no such folder, no model in it, an index that cannot be read, a shard
            that is missing.
    """
    try:
        files = fingerprint.weight_files(base)
        if not files or not (base / _CONFIG).exists():
            raise MergeError(
                f"{base} holds no {_CONFIG} with *.safetensors",
                remedy="Give the folder of a model that save_pretrained wrote.",
            )
        missing = [file.name for file in files if not file.is_file()]
    except _DAMAGE as error:
        raise damaged(base, f"its index cannot be read ({error})") from None
    if missing:
        raise damaged(base, f"its index names {missing[0]}, which is not there")
    return files


def others_of(base: Path) -> list[Path]:
    """Return what belongs to the model besides weights, config.json last.

    Without config.json nobody opens a folder: one that a killed process left is no model.
    """
    found = [file for file in base.iterdir() if file.is_file() and file.suffix not in _WEIGHTS]
    return sorted(found, key=lambda file: (file.name == _CONFIG, file.name))


def skeleton(base: Path) -> Any:
    """Return the model with shapes and types of modules, and no numbers.

    Raises:
        MergeError: config.json is damaged, of an unknown architecture, or would run code
            that lies beside it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=True)
        made = _class_of(config)
        with torch.device("meta"):
            if made is not None:
                return made(config)
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - a foreign library on a foreign file: anything
        raise MergeError(
            f"transformers cannot tell from config.json what model is in {base}: "
            f"{str(error)[:_ERROR_MAX]}",
            remedy="Download the model again; one that needs trust_remote_code can be merged "
            "into if you open it yourself and give the open model.",
        ) from None


def _class_of(config: Any) -> Any:
    """Return the class of transformers that saved the model, or None if it names none of them."""
    import transformers

    names: list[str] = getattr(config, "architectures", None) or []
    found = getattr(transformers, names[0], None) if len(names) == 1 else None
    is_model = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    return found if is_model else None


def header(file: Path) -> tuple[TensorTable, bytes]:
    """Return the table of a safetensors file and its head's bytes, length included.

    The tensors fill the file from end to end; so a file that was cut is known here.

    Raises:
        MergeError: it is damaged or cannot be read.
    """
    try:
        with file.open("rb") as stream:
            left = os.fstat(stream.fileno()).st_size - _LENGTH_BYTES
            size = stream.read(_LENGTH_BYTES)
            length = int.from_bytes(size, "little")
            if length > min(left, _HEADER_MAX):
                raise damaged(file, "its header is longer than the file")
            raw = stream.read(length)
        table = json.loads(raw)
        table.pop("__metadata__", None)
        at = 0
        for row in in_order(table).values():
            at = _end_of(row, at)
    except OSError as error:
        raise _unreadable(file, error) from None
    except _DAMAGE:
        raise damaged(file, "its header is not that of a safetensors file") from None
    if at != left - length:
        raise damaged(file, f"it holds {left - length} bytes for {at} bytes of tensors")
    return table, size + raw


def in_order(table: TensorTable) -> TensorTable:
    """Return the table as its tensors lie in the file."""
    return dict(sorted(table.items(), key=lambda item: item[1]["data_offsets"]))


def _end_of(row: Mapping[str, Any], at: int) -> int:
    """Return where a tensor that begins at ``at`` ends; LookupError, TypeError, ValueError."""
    start, end = row["data_offsets"]
    numbers = math.prod(row["shape"])
    kind = FLOATS.get(row["dtype"])
    if start != at or type(end) is not int or end < start:
        raise ValueError("offsets")
    if not all(type(side) is int for side in row["shape"]):
        raise TypeError("shape")
    if kind is not None and numbers * kind.itemsize != end - start:
        raise ValueError("shape")
    return end


def copy_weights(
    file: Path, out: IO[bytes], tensors: Mapping[str, tuple[str, bool]], change: Change
) -> None:
    """Copy a safetensors file tensor by tensor, and change some on the way.

    Args:
        file: whose header :func:`header` has judged.
        out: where to.
        tensors: which to change, name to (module, transposed); of a type in FLOATS.
        change: gets the module's weight as (d_out, d_in).
    """
    table, head = header(file)
    out.write(head)
    with _opened(file) as stream:
        stream.seek(len(head))
        for name, row in in_order(table).items():
            start, end = row["data_offsets"]
            blocks = read_blocks(stream, end - start, file)
            if name not in tensors:
                out.writelines(blocks)
                continue
            raw = bytearray()
            for block in blocks:
                raw += block
            module, transposed = tensors[name]
            kind = FLOATS[row["dtype"]]
            weight = torch.frombuffer(raw, dtype=torch.uint8).view(kind).view(row["shape"])
            change(module, weight.T if transposed else weight)
            out.write(octets(weight))


def copy_whole(file: Path, out: IO[bytes]) -> None:
    """Copy a file as it is."""
    with _opened(file) as stream:
        out.writelines(read_blocks(stream, os.fstat(stream.fileno()).st_size, file))


def damaged(what: Path, why: str) -> MergeError:
    """Return the error for a base that cannot be used."""
    return MergeError(f"{what} is damaged: {why}", remedy="Download or save the model again.")


def _unreadable(file: Path, error: OSError) -> MergeError:
    return MergeError(
        f"{file} of the base cannot be read: {error.strerror or error}",
        remedy="Download or save the model again, where this user can read it.",
    )


def _opened(file: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except OSError as error:
        raise _unreadable(file, error) from None


def read_blocks(stream: IO[bytes], left: int, file: Path) -> Iterator[bytes]:
    """Yield the next ``left`` bytes of a base's file, or say that they cannot be read."""
    while left > 0:
        try:
            block = stream.read(min(left, _COPY_BYTES))
        except OSError as error:
            raise _unreadable(file, error) from None
        if not block:
            raise damaged(file, "it ends before its last tensor")
        left -= len(block)
        yield block
