"""``hl.merge``: adapters, patches and PEFT folders in, one adapter out.

The merge walks from module to module, so that beyond the inputs only one
module's stack is in memory. In each module the parts are sorted by content:
float sums depend on order, and two nodes with the same set must agree.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from hivelearn.merging.linear import Part
from hivelearn.merging.lowrank import Factors, relative_error
from hivelearn.merging.plan import MergeError, MergeRecipe
from hivelearn.merging.table import operator
from hivelearn.patch.adapter import Adapter


class HoldsAdapter(Protocol):
    """A patch, or anything else with an adapter in it."""

    @property
    def adapter(self) -> Adapter:
        """The LoRA factors."""


Source: TypeAlias = "Adapter | HoldsAdapter | str | os.PathLike[str]"


@dataclass(frozen=True, eq=False)
class Merged:
    """A merged adapter and what recompression to its rank cost.

    Attributes:
        adapter: float32, alpha = rank, so its scale is 1.
        errors: per module the relative Frobenius distance between the merged
            delta and what the method asked for: 0 exact, 1 all lost.
        error: the same over all modules together.
    """

    adapter: Adapter
    errors: dict[str, float]
    error: float

    def __str__(self) -> str:
        """Tell rank, size and loss in one line."""
        return (
            f"rank {self.adapter.rank}, {len(self.errors)} modules, "
            f"{self.error:.1%} lost to recompression"
        )


def merge(
    sources: Sequence[Source],
    *,
    method: str = "linear",
    weights: Sequence[float] | None = None,
    rank: int | None = None,
    density: float | None = None,
    allow_negative: bool = False,
) -> Adapter:
    """Merge LoRA adapters of the same model into one.

    Args:
        sources: adapters, patches or PEFT folders. Ranks and alphas may differ; a
            module that one of them lacks counts as unchanged by it.
        method: ``"linear"`` (the exact weighted sum of deltas) or ``"ties"``.
        weights: one per source, absolute: weights that add up to .6 move .6 of
            the way. Default 1/n each.
        rank: of the result; default the largest rank among the sources. The sum
            of all ranks makes a linear merge exact (at most 64).
        density: share of entries that ``"ties"`` keeps; default .2.
        allow_negative: lets weights be below zero, to subtract what was learnt.

    Returns:
        A float32 adapter with alpha = rank. It carries the base fingerprint if
        every source does. :func:`combine` also tells what the rank has cost.

    Raises:
        MergeError: an unknown method; weights, rank or density out of range;
            adapters of different bases or shapes; NaN or infinity in one of them.
    """
    if isinstance(sources, (str, os.PathLike, Adapter)):
        raise MergeError("merge takes a list of adapters, and was given a single one")
    adapters = [_open(source) for source in sources]
    if weights is None:
        recipe = MergeRecipe.mean(len(adapters), method, density=density, rank=rank)
    else:
        recipe = MergeRecipe(method, tuple(weights), density, rank, allow_negative)
    return combine(adapters, recipe).adapter


def combine(adapters: Sequence[Adapter], recipe: MergeRecipe) -> Merged:
    """Merge as ``recipe`` says and report what recompression has cost.

    Raises:
        MergeError: see :func:`merge`.
    """
    op = operator(recipe.method)
    if recipe.density is not None and not op.sparse:
        raise MergeError(f"method {op.name!r} keeps every entry and takes no density")
    if len(recipe.weights) != len(adapters):
        raise MergeError(f"{len(recipe.weights)} weights for {len(adapters)} adapters")
    _check(adapters)
    rank = recipe.rank or max(adapter.rank for adapter in adapters)
    merged: dict[str, Factors] = {}
    for module in sorted({name for adapter in adapters for name in adapter.factors}):
        parts = _parts(module, adapters, recipe)
        if parts:  # a module that only adapters of weight 0 have stays as it is
            merged[module] = op.combine(parts, rank, recipe)
    factors = {module: (made.a, made.b) for module, made in merged.items()}
    bases = {adapter.base for adapter in adapters}
    return Merged(
        Adapter(factors, rank, float(rank), bases.pop() if len(bases) == 1 else None),
        {module: made.error for module, made in merged.items()},
        relative_error(
            sum(made.kept for made in merged.values()), sum(made.total for made in merged.values())
        ),
    )


def _open(source: Source) -> Adapter:
    if isinstance(source, Adapter):
        return source
    if isinstance(source, (str, os.PathLike)):
        return Adapter.load(Path(source))
    inside = getattr(source, "adapter", None)
    if not isinstance(inside, Adapter):
        raise MergeError(
            f"a {type(source).__name__} is no adapter",
            remedy="Pass Adapter objects, patches, or folders that PEFT has saved.",
        )
    return inside


def _check(adapters: Sequence[Adapter]) -> None:
    """Refuse before any arithmetic: one NaN would spread over the whole merge."""
    bases = {adapter.base for adapter in adapters if adapter.base is not None}
    if len(bases) > 1:
        names = ", ".join(sorted(base.hex()[:8] for base in bases))
        raise MergeError(f"the adapters belong to different base models: {names}")
    shapes: dict[str, tuple[int, int]] = {}
    for place, adapter in enumerate(adapters):
        for module, (a, b) in adapter.factors.items():
            if not (bool(a.isfinite().all()) and bool(b.isfinite().all())):
                raise MergeError(f"adapter {place} holds NaN or infinity in {module}")
            shape = (b.shape[0], a.shape[1])
            if shapes.setdefault(module, shape) != shape:
                raise MergeError(
                    f"{module} is {shape[0]} x {shape[1]} in adapter {place}, "
                    f"{shapes[module][0]} x {shapes[module][1]} in one before it"
                )


def _parts(module: str, adapters: Sequence[Adapter], recipe: MergeRecipe) -> list[Part]:
    """Return what each adapter adds to ``module``, sorted by content."""
    keyed = []
    for adapter, weight in zip(adapters, recipe.weights, strict=True):
        if module not in adapter.factors or weight == 0:
            continue
        a, b = adapter.factors[module]
        part = Part(a.float(), b.float(), adapter.scale, weight)
        keyed.append((_digest(a), _digest(b), adapter.scale, weight, part))
    return [row[-1] for row in sorted(keyed, key=lambda row: row[:-1])]


def _digest(tensor: Tensor) -> bytes:
    return hashlib.sha256(tensor.view(torch.uint8).numpy().data).digest()
