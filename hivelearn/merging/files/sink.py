"""Where merged factors go: into an adapter in memory, or into a file as they come.

The header of a safetensors file says where every tensor will lie, so a folder
is written module by module, in any order, and never held in memory. Until the
last one is there it lies under another name: a merge that is interrupted leaves
what was there before.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor

from hivelearn.files import Replacement, replace_all
from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.place import ResultFolder, refuse_full, unwritable
from hivelearn.merging.files.sources import octets
from hivelearn.patch import peft_config
from hivelearn.patch import safetensors_header as header
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.limits import ADAPTER_RANK_MAX
from hivelearn.patch.origin import Origin
from hivelearn.patch.peft_config import CONFIG_FILE, WEIGHTS_FILE

DTYPES: Final[Mapping[str, torch.dtype]] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_LOST: Final = 2.0**-8  # of a factor's norm
_NAMES: Final = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def dtype_of(name: str) -> torch.dtype:
    """Return the float type that ``MergeOptions`` calls ``name``."""
    return DTYPES[str(name).removeprefix("torch.")]


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
        last = max(self._places, key=self._places.__getitem__)
        size = tensors[last][0] * tensors[last][1] * dtype.itemsize
        with ExitStack() as opening:
            try:
                opening.enter_context(ResultFolder(folder))
                refuse_full(folder, self._data_start + self._places[last] + size)
                self._weights = opening.enter_context(Replacement(folder / WEIGHTS_FILE))
                self._weights.file.write(head)
            except OSError as error:
                raise unwritable(folder, error) from None
            self._open = opening.pop_all()

    def __enter__(self) -> Self:
        """Write inside the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing half-written behind, nor a folder that was made for nothing."""
        self._open.close()

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


def padded_to(rank: int, a: Tensor, b: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return factors with zeros up to ``rank``, in ``dtype``: the same product.

    Raises:
        MergeError: a number does not fit the type.
    """
    missing = rank - a.shape[0]
    if dtype is torch.float16:
        a, b = balanced(a, b)
    wide = (
        torch.nn.functional.pad(a, (0, 0, 0, missing)).to(dtype),
        torch.nn.functional.pad(b, (0, missing)).to(dtype),
    )
    if dtype is torch.float16:
        for full, half in zip((a, b), wide, strict=True):
            _refuse_unfit(full, half)
    return wide


def balanced(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same product of rows of A and columns of B that are of one size.

    Float16 keeps what lies between 6e-5 and 65,504, and a B of 1e-7 beside an A of 1 is
    lost although their product could be told as 3e-4 times 3e-4. The factors are powers of
    two, so that nothing is rounded.

    Args:
        a: (r, d_in) float.
        b: (d_out, r) float.
    """
    a, b = a.float(), b.float()
    rows, columns = a.abs().amax(dim=1), b.abs().amax(dim=0)  # (r,)
    counts = (rows > 0) & (columns > 0)  # the others add nothing, however large they are
    apart = torch.where(counts, columns, 1.0).log2() - torch.where(counts, rows, 1.0).log2()
    step = torch.exp2((apart / 2).round())
    return torch.where(counts, step, 0.0)[:, None] * a, torch.where(counts, 1 / step, 0.0) * b


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
