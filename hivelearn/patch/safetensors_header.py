"""The strict reader of a payload's header: the one canonical form, or refused.

safetensors itself accepts duplicate keys, foreign names, NUL bytes, zero-size
tensors of 2^60 rows and forty megabytes of them (15 s and 1.6 GB to list). So
the header is judged here first, from its bytes, before any tensor exists. What
passes is exactly what ``Adapter.to_bytes`` writes: names from a whitelist, one
metadata entry, one float type, every A with its B, one rank.

Blame: these bytes matched a signed hash, so a bad header is its author's fault.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from hivelearn.errors import PeerError
from hivelearn.patch import bounded_json
from hivelearn.patch.errors import AdapterError
from hivelearn.patch.limits import PATCH_RANK_MAX

HEADER_MAX_BYTES: Final = 1 << 20
PAYLOAD_MAX_BYTES: Final = 512 << 20
TENSORS_MAX: Final = 4_096
DIM_MAX: Final = 1 << 20
NAME_MAX: Final = 200
FOREIGN_TENSORS_MAX: Final = 40_960  # a LoRA on 128 experts in 48 layers has 36,864
FOREIGN_HEADER_MAX_BYTES: Final = 16 << 20
# Of a header: itself and its metadata; then a mapping and two lists, and six commas, a tensor.
_OBJECTS_MAX: Final = 2 + 3 * TENSORS_MAX
_ITEMS_MAX: Final = 6 * TENSORS_MAX
_LENGTH_BYTES: Final = 8
ITEM_BYTES: Final[Mapping[str, int]] = {"BF16": 2, "F16": 2, "F32": 4}
_MODULE = r"[A-Za-z0-9_]{1,64}(?:\.[A-Za-z0-9_]{1,64}){0,31}"
_KEY: Final = re.compile(rf"base_model\.model\.({_MODULE})\.lora_(A|B)\.weight")
# Parts of a name that would make PEFT touch weights other than its own factors.
_FORBIDDEN_PARTS: Final = frozenset({"base_layer", "modules_to_save", "original_module"})


class HeaderError(PeerError):
    """The payload is not a canonical LoRA payload, though its hash was signed."""

    fault = "author"

    def __init__(self, what: str, code: str) -> None:
        super().__init__(f"payload refused: {what}", code=f"st.{code}")


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one tensor lies in the data region."""

    shape: tuple[int, int]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a strict header says: float type, rank and both factors of every module."""

    dtype: str
    rank: int
    factors: Mapping[str, tuple[TensorEntry, TensorEntry]]  # module -> (A (r, d_in), B (d_out, r))
    data_start: int


def key(module: str, factor: str) -> str:
    """Return PEFT's tensor name of ``factor`` ("A" or "B") of ``module``."""
    return f"base_model.model.{module}.lora_{factor}.weight"


@lru_cache(maxsize=TENSORS_MAX)  # adapters of one model name the same modules
def allowed(module: str) -> bool:
    """Return whether a LoRA may target a module of this name."""
    return (
        len(module) <= NAME_MAX
        and re.fullmatch(_MODULE, module) is not None
        and not _FORBIDDEN_PARTS.intersection(module.split("."))
        and "lora_" not in module
    )


def write(shapes: Mapping[str, tuple[int, int]], dtype: str) -> bytes:
    """Return the header, length included, of tensors with these names and shapes.

    It is what safetensors 0.8 writes, but it stays so when safetensors changes:
    the bytes are hashed, so they belong to our format.
    """
    raw = _canonical(_laid_out(shapes, dtype), dtype)
    return len(raw).to_bytes(_LENGTH_BYTES, "little") + raw


def offsets(shapes: Mapping[str, tuple[int, int]], dtype: str) -> dict[str, int]:
    """Return where each tensor begins in the data region of the file that :func:`write` heads."""
    return {name: entry.start for name, entry in _laid_out(shapes, dtype).items()}


def _laid_out(shapes: Mapping[str, tuple[int, int]], dtype: str) -> dict[str, TensorEntry]:
    entries, at = {}, 0
    for name in sorted(shapes):
        rows, columns = shapes[name]
        end = at + rows * columns * ITEM_BYTES[dtype]
        entries[name], at = TensorEntry((rows, columns), at, end), end
    return entries


def read(payload: bytes) -> Header:
    """Return the header of a canonical payload.

    Raises:
        HeaderError: anything else. Its ``code`` names the rule.
    """
    size = int.from_bytes(payload[:_LENGTH_BYTES], "little")
    if size > min(HEADER_MAX_BYTES, len(payload) - _LENGTH_BYTES):
        raise HeaderError("header longer than its limit or than the file", "size")
    data_start = _LENGTH_BYTES + size
    raw = payload[_LENGTH_BYTES:data_start]
    table = _parse(raw)
    if table.pop("__metadata__", None) != {"format": "pt"}:
        raise HeaderError("metadata is not exactly {'format': 'pt'}", "metadata")
    if not 0 < len(table) <= TENSORS_MAX:
        raise HeaderError(f"{len(table)} tensors, and a payload has 1 … {TENSORS_MAX}", "count")
    dtype = _one_dtype(table)
    entries = _entries(table, dtype, len(payload) - data_start)
    rank, factors = _pairs(entries)  # before the bytes are compared: names are plain ASCII now
    if raw != _canonical(entries, dtype):
        raise HeaderError("header bytes are not the canonical ones", "canonical")
    return Header(dtype, rank, factors, data_start)


def refuse_crowded(file: Path) -> None:
    """Refuse a safetensors file from elsewhere with more tensors than any adapter has.

    The library lists a hundred thousand of them for a second before anybody can look. What
    else is wrong with the file, it says itself.

    Raises:
        AdapterError: there are more, or the header is longer than theirs would be.
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        raw = stream.read(min(size, FOREIGN_HEADER_MAX_BYTES))
    if size > FOREIGN_HEADER_MAX_BYTES or raw.count(b'"data_offsets"') > FOREIGN_TENSORS_MAX:
        raise AdapterError(
            f"{file} has more than {FOREIGN_TENSORS_MAX} tensors, or a header of more than "
            f"{FOREIGN_HEADER_MAX_BYTES >> 20} MiB: no adapter is like that",
            remedy="Give the folder of a LoRA adapter, and not that of a model.",
        )


def _parse(raw: bytes) -> dict[str, object]:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise HeaderError("a key stands twice", "duplicate")
        return table

    try:
        table = bounded_json.parsed(
            raw, objects_max=_OBJECTS_MAX, items_max=_ITEMS_MAX, pairs_hook=unique
        )
    except bounded_json.CrowdedError:
        most = f"a payload has 1 … {TENSORS_MAX}"
        raise HeaderError(f"more tensors than it may have: {most}", "count") from None
    except ValueError:
        raise HeaderError("header is not JSON", "json") from None
    if type(table) is not dict:
        raise HeaderError("header is not a JSON object", "json")
    return table


def _one_dtype(table: Mapping[str, object]) -> str:
    dtypes = {str(row.get("dtype")) if type(row) is dict else "?" for row in table.values()}
    dtype = dtypes.pop()
    if dtypes or dtype not in ITEM_BYTES:
        raise HeaderError("tensors are not all of one of BF16, F16, F32", "dtype")
    return dtype


def _entries(table: Mapping[str, object], dtype: str, data_bytes: int) -> dict[str, TensorEntry]:
    entries, at = {}, 0
    for name in sorted(table):
        match table[name]:
            case {"shape": [rows, columns], "data_offsets": [start, end]} if all(
                type(number) is int
                for number in (rows, columns, start, end)  # true is not 1
            ):
                pass
            case _:
                raise HeaderError(f"tensor {name[:80]!r} has no two-dimensional shape", "shape")
        if not (0 < rows <= DIM_MAX and 0 < columns <= DIM_MAX):
            raise HeaderError(f"tensor {name[:80]!r} has a dimension out of range", "shape")
        if (start, end) != (at, at + rows * columns * ITEM_BYTES[dtype]):
            raise HeaderError("offsets are not those of the sorted tensors", "offsets")
        entries[name], at = TensorEntry((rows, columns), start, end), end
    if at != data_bytes:
        raise HeaderError(f"{data_bytes} bytes of data for {at} bytes of tensors", "offsets")
    return entries


def _canonical(entries: Mapping[str, TensorEntry], dtype: str) -> bytes:
    """Return the header that safetensors 0.8 writes for these tensors, padded to 8 bytes."""
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    for name, entry in entries.items():
        offsets = [entry.start, entry.end]
        table[name] = {"dtype": dtype, "shape": list(entry.shape), "data_offsets": offsets}
    raw = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    return raw + b" " * (-len(raw) % 8)


def _pairs(
    entries: Mapping[str, TensorEntry],
) -> tuple[int, dict[str, tuple[TensorEntry, TensorEntry]]]:
    found: dict[str, dict[str, TensorEntry]] = {}
    for name, entry in entries.items():
        match = _KEY.fullmatch(name)
        if match is None or not allowed(match[1]):
            raise HeaderError(f"tensor {name[:80]!r} is no LoRA factor", "name")
        found.setdefault(match[1], {})[match[2]] = entry
    factors, ranks = {}, set()
    for module, pair in found.items():
        if pair.keys() != {"A", "B"}:
            raise HeaderError(f"module {module!r} lacks a factor", "pair")
        ranks |= {pair["A"].shape[0], pair["B"].shape[1]}
        factors[module] = (pair["A"], pair["B"])
    rank = ranks.pop()
    if ranks or rank > PATCH_RANK_MAX:
        raise HeaderError(f"ranks differ or exceed {PATCH_RANK_MAX}", "rank")
    return rank, factors
