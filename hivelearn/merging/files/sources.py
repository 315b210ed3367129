"""Adapters, patches, PEFT folders and open PEFT models, opened without being read.

A source knows its shapes and gives one module's factors at a time. Those of a
folder are views of the mapped file: pages come when they are used and go when
memory is short, so that 1.3 GB of adapters merge in a few dozen megabytes.
"""

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import torch
from torch import Tensor

from hivelearn.merging.blocks import finite
from hivelearn.merging.errors import MergeError
from hivelearn.merging.recipe.recipe import SOURCES_MAX
from hivelearn.patch import peft_folder
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.errors import AdapterError
from hivelearn.patch.origin import Origin
from hivelearn.printable import printable

_HEAD_ROWS: Final = 4  # of a tensor that go into the key of an adapter
_SAMPLED: Final = 8  # modules of it


class HoldsAdapter(Protocol):
    """A patch, or anything else with an adapter in it."""

    @property
    def adapter(self) -> Adapter:
        """The LoRA factors."""


# An open PEFT model is any object with ``peft_config``.
Mergeable: TypeAlias = "Adapter | HoldsAdapter | str | os.PathLike[str] | Any"


@dataclass(frozen=True, eq=False)
class AdapterSource:
    """One adapter that takes part in a merge.

    Attributes:
        name: what messages call it.
        base: fingerprint of its model, or None if unknown.
        shapes: module to (d_out, d_in, rank).
        origin: the task and model that it names.
    """

    name: str
    base: bytes | None
    shapes: Mapping[str, tuple[int, int, int]]
    origin: Origin
    _from: Adapter | peft_folder.Folder
    _own: Mapping[str, str] = field(default_factory=dict)  # where its own names are others

    @property
    def folder(self) -> Path | None:
        """Where it lies, or None if it is in memory."""
        return None if isinstance(self._from, Adapter) else self._from.path

    def read(self, module: str) -> tuple[Tensor, Tensor, float]:
        """Return (A, B, scale) of a module it has, unchecked; see :meth:`refuse_broken`."""
        own = self._own.get(module, module)
        if isinstance(self._from, Adapter):
            return *self._from.factors[own], self._from.scale
        return *self._from.read(own), self._from.scales[own]

    def respelled(self, names: Mapping[str, str]) -> "AdapterSource":
        """Return this source with other names for its modules, each its own name to the new."""
        shapes = {names[own]: shape for own, shape in self.shapes.items()}
        own = {new: self._own.get(old, old) for old, new in names.items()}
        return replace(self, shapes=dict(sorted(shapes.items())), _own=own)

    def refuse_broken(self, module: str) -> None:
        """Raise MergeError if a factor of ``module`` holds NaN or infinity, and say which."""
        a, b, _ = self.read(module)
        for factor, tensor in (("A", a), ("B", b)):
            if not finite(tensor):
                raise MergeError(
                    f"{self.name} holds NaN or infinity in {factor} of {module}",
                    remedy="Leave it out: one such number would spread over the whole merge.",
                    module=module,
                )

    def key(self) -> bytes:
        """Return 32 bytes that follow from its content: shapes, and heads of its first tensors.

        Enough to put different adapters in order; :meth:`full_key` tells apart those
        that begin alike. Hashing everything would take as long as merging it.
        """
        # Neighbours in the file: the system reads megabytes ahead of every place that is looked at.
        return self._key(sorted(self.shapes)[:_SAMPLED], rows=_HEAD_ROWS)

    def full_key(self) -> bytes:
        """Return 32 bytes that follow from all of its content."""
        return self._key(sorted(self.shapes), rows=None)

    def _key(self, modules: Sequence[str], rows: int | None) -> bytes:
        digest = hashlib.sha256()
        for module in modules:
            a, b, scale = self.read(module)
            digest.update(f"{module}|{self.shapes[module]}|{a.dtype}|{scale!r}|".encode())
            digest.update(octets(a[:rows]))
            digest.update(octets(b[:rows]))
        return digest.digest()


def octets(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor as they lie in memory, uncopied if they lie in a row."""
    view: memoryview = tensor.contiguous().view(torch.uint8).numpy().data
    return view


def open_all(given: Sequence[Mergeable]) -> list[AdapterSource]:
    """Open every source and check that they belong to one model, as far as they say.

    Raises:
        MergeError: none; no adapter; different bases.
        AdapterError: a folder or model that is no plain LoRA.
    """
    if isinstance(given, str | os.PathLike | Adapter) or not isinstance(given, Sequence):
        raise MergeError(
            f"merge takes a list of adapters, and was given a {type(given).__name__}",
            remedy="Write hl.merge([a, b]).",
        )
    if not given:
        raise MergeError("nothing to merge: no adapter was given")
    if len(given) > SOURCES_MAX:
        raise MergeError(
            f"{len(given)} adapters were given, and a merge takes at most {SOURCES_MAX}"
        )
    sources = [_open(one, f"source {place}") for place, one in enumerate(given)]
    bases = {source.base for source in sources if source.base is not None}
    if len(bases) > 1:
        names = ", ".join(sorted(base.hex()[:8] for base in bases))
        raise MergeError(f"the adapters belong to different base models: {names}")
    named = sorted({source.origin.model for source in sources if source.origin.model is not None})
    if len(named) > 1:  # perhaps two places of one model: only the caller can know
        warnings.warn(
            f"the adapters name different base models: {', '.join(map(printable, named))}",
            stacklevel=2,
        )
    return sources


def refuse_other_shapes(sources: Sequence[AdapterSource]) -> None:
    """Raise MergeError if one module has two shapes."""
    seen: dict[str, tuple[int, int]] = {}
    for source in sources:
        for module, (d_out, d_in, _) in source.shapes.items():
            if seen.setdefault(module, (d_out, d_in)) != (d_out, d_in):
                theirs = " x ".join(map(str, seen[module]))
                raise MergeError(
                    f"{module} is {d_out} x {d_in} in {source.name}, {theirs} in one before it"
                )


def _open(one: Mergeable, place: str) -> AdapterSource:
    if isinstance(one, str | os.PathLike):
        name = f"{place} ({Path(one).name})"
        try:
            folder = peft_folder.open_folder(Path(one))
        except AdapterError as error:  # of many, which?
            raise AdapterError(f"{name}: {error.what}", remedy=error.remedy) from error
        return AdapterSource(name, None, folder.shapes, folder.origin, folder)
    adapter = getattr(one, "adapter", one)
    if not isinstance(adapter, Adapter):
        if not hasattr(one, "peft_config"):
            raise MergeError(
                f"{place}, a {type(one).__name__}, is no adapter",
                remedy="Pass Adapter objects, patches, open PEFT models, or folders PEFT saved.",
            )
        adapter = Adapter.from_model(one)
    shapes = {
        module: (b.shape[0], a.shape[1], a.shape[0]) for module, (a, b) in adapter.factors.items()
    }
    named = getattr(one, "id", None)  # a patch has one
    name = f"{place} (patch {named.hex()[:8]})" if isinstance(named, bytes) else place
    return AdapterSource(name, adapter.base, shapes, adapter.origin, adapter)
