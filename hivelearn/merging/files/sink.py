"""Where merged factors go: into an adapter in memory, or into a file as they come.

The header of a safetensors file says where every tensor will lie, so a folder
is written module by module, in any order, and never held in memory. Until the
last one is there it lies under another name: a merge that is interrupted leaves
what was there before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor

from hivelearn.files import Replacement, replace_all
from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.sources import AdapterSource, octets
from hivelearn.patch import peft_config
from hivelearn.patch import safetensors_header as header
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.limits import ADAPTER_RANK_MAX
from hivelearn.patch.origin import Origin
from hivelearn.patch.peft_config import CONFIG_FILE, WEIGHTS_FILE
from hivelearn.printable import shown

DTYPES: Final[Mapping[str, torch.dtype]] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_LOST: Final = 2.0**-8  # of a factor's norm
_NAMES: Final = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def dtype_of(name: str) -> torch.dtype:
    """Return the float type called ``name``.

    Raises:
        MergeError: it is none of float32, bfloat16, float16.
    """
    name = str(name).removeprefix("torch.")  # torch.bfloat16 is meant as it is said
    if name not in DTYPES:
        raise MergeError(
            f"dtype {shown(name)} is not one of {', '.join(DTYPES)}",
            remedy="Write dtype='bfloat16', for example.",
        )
    return DTYPES[name]


class MemorySink:
    """Keeps the factors of each module; pads them to one rank at the end."""

    def __init__(
        self,
        base: bytes | None,
        dtype: torch.dtype,
        rank: int | None,
        origin: Origin,
    ) -> None:
        self._base, self._dtype, self._rank, self._origin = base, dtype, rank, origin
        self._factors: dict[str, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> Self:
        """Collect inside the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to clear away."""

    def put(self, module: str, a: Tensor, b: Tensor) -> None:
        """Take (r, d_in) A and (d_out, r) B of one module; their scale is 1."""
        self._factors[module] = (a, b)

    def close(self) -> Adapter:
        """Return the adapter; its rank is the wanted one, or the largest that came."""
        rank = self._rank or max(a.shape[0] for a, _ in self._factors.values())
        padded = {m: padded_to(rank, a, b, self._dtype) for m, (a, b) in self._factors.items()}
        return Adapter(padded, rank, float(rank), self._base, self._origin)


class FolderSink:
    """Writes a PEFT folder tensor by tensor; use it in a ``with`` block."""

    def __init__(
        self,
        folder: Path,
        shapes: Mapping[str, tuple[int, int]],
        rank: int,
        dtype: torch.dtype,
        base: bytes | None = None,
        origin: Origin | None = None,
    ) -> None:
        """Reserve the file.

        Args:
            folder: made if it is not there.
            shapes: module to (d_out, d_in).
            rank: of every module.
            dtype: of every tensor.
            base: the model's fingerprint; a PEFT folder has no place for it, the adapter has.
            origin: task and model that the folder names.

        Raises:
            MergeError: nothing can be written there.
        """
        self._folder, self._rank, self._dtype, self._base = folder, rank, dtype, base
        self._origin = origin
        tensors = {}
        for module, (d_out, d_in) in shapes.items():
            tensors[header.key(module, "A")] = (rank, d_in)
            tensors[header.key(module, "B")] = (d_out, rank)
        head = header.write(tensors, _NAMES[dtype])
        self._places = header.offsets(tensors, _NAMES[dtype])
        self._data_start = len(head)
        self._modules = list(shapes)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._weights = Replacement(folder / WEIGHTS_FILE)
        except OSError as error:
            raise unwritable(folder, error) from None
        try:
            self._weights.file.write(head)
        except OSError as error:
            self._weights.__exit__()
            raise unwritable(folder, error) from None

    def __enter__(self) -> Self:
        """Write inside the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing half-written behind."""
        self._weights.__exit__()

    def put(self, module: str, a: Tensor, b: Tensor) -> None:
        """Write one module."""
        for factor, tensor in zip("AB", padded_to(self._rank, a, b, self._dtype), strict=True):
            try:
                self._weights.file.seek(self._data_start + self._places[header.key(module, factor)])
                self._weights.file.write(octets(tensor))
            except OSError as error:
                raise unwritable(self._folder, error) from None

    def close(self) -> Adapter:
        """Name the file what it is called and return the folder's adapter."""
        config = peft_config.config(self._modules, self._rank, float(self._rank), self._origin)
        try:
            with Replacement(self._folder / CONFIG_FILE) as told:
                told.file.write(peft_config.config_text(config).encode())
                replace_all((self._weights, told))
        except OSError as error:
            raise unwritable(self._folder, error) from None
        return replace(Adapter.load(self._folder), base=self._base)


def refuse_impossible(modules: Sequence[str], rank: int | None) -> None:
    """Refuse a result that no adapter can be, before anything is computed or written.

    Args:
        modules: of the result.
        rank: of the result; None if it is known at the end only.

    Raises:
        MergeError: rank or number of modules is beyond what an adapter may have.
    """
    if rank is not None and rank > ADAPTER_RANK_MAX:
        raise MergeError(
            f"the result would have rank {rank}, and an adapter has at most {ADAPTER_RANK_MAX}",
            remedy=f"Give rank={ADAPTER_RANK_MAX} instead of 'stack', or merge into the model.",
        )
    if 2 * len(modules) > header.TENSORS_MAX:
        raise MergeError(
            f"the adapters have {len(modules)} modules together, and one adapter has at most "
            f"{header.TENSORS_MAX // 2}",
            remedy="Merge into the model with merge_into, or train fewer modules.",
        )


def refuse_place(out: Path, sources: Sequence[AdapterSource]) -> None:
    """Refuse a folder in which the result would replace or change what is there.

    Raises:
        MergeError: it is the folder of a source, or of a model: transformers would load
            the model with the adapter in it from then on.
    """
    taken = next((s for s in sources if s.folder and s.folder.resolve() == out.resolve()), None)
    if taken is not None:
        raise MergeError(
            f"{out} is the folder of {taken.name}, which the result would replace",
            remedy="Give another place with out=... (-o).",
        )
    if (out / "config.json").exists():
        raise MergeError(
            f"{out} is the folder of a model, and an adapter in it would change what it loads",
            remedy="Give another place with out=... (-o); to merge into the model: merge_into, "
            "or --base.",
        )


def unwritable(path: Path, error: OSError) -> MergeError:
    """Return the error for a place that the operating system refuses."""
    return MergeError(
        f"{path} cannot be written: {error.strerror or error}",
        remedy="Give another place with out=..., or free space there; the sources are untouched.",
    )


def padded_to(rank: int, a: Tensor, b: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return factors with zeros up to ``rank``, in ``dtype``: the same product.

    Raises:
        MergeError: a number does not fit the type.
    """
    missing = rank - a.shape[0]
    wide = (
        torch.nn.functional.pad(a, (0, 0, 0, missing)).to(dtype),
        torch.nn.functional.pad(b, (0, missing)).to(dtype),
    )
    if dtype is torch.float16:
        for full, half in zip((a, b), wide, strict=True):
            _refuse_unfit(full, half)
    return wide


def _refuse_unfit(full: Tensor, half: Tensor) -> None:
    """Refuse a factor that float16 cannot hold: beyond 65,504, or largely below 6e-8."""
    if not bool(half.isfinite().all()):
        raise MergeError("a merged factor overflows float16", remedy="Use dtype='bfloat16'.")
    padded = half[: full.shape[0], : full.shape[1]]
    lost, whole = (float(torch.linalg.vector_norm(t)) for t in (padded.float() - full, full))
    if lost > _LOST * whole:
        raise MergeError(
            "a merged factor is too small for float16: much of it would be zero",
            remedy="Use dtype='bfloat16', or float32.",
        )
