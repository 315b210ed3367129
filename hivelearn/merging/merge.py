"""``hl.merge``: adapters, patches, PEFT folders and open models in, one adapter out.

Read :func:`_combined` top to bottom. It walks from module to module, so that
beyond the inputs, which are mapped files if they are folders, only one module's
stack is in memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from hivelearn.merging import operate
from hivelearn.merging.errors import MergeError
from hivelearn.merging.lowrank.factors import Size
from hivelearn.merging.naming import named
from hivelearn.merging.outcome import Merged
from hivelearn.merging.plan import Plan, planned
from hivelearn.merging.recipe import MergeRecipe, Rank
from hivelearn.merging.sink import FolderSink, MemorySink, dtype_of, refuse_impossible, refuse_place
from hivelearn.merging.sources import Mergeable, open_all
from hivelearn.merging.surroundings import plain_torch
from hivelearn.merging.survey import Survey, surveyed
from hivelearn.merging.tally import Tally, reported
from hivelearn.merging.weigh import adapter_wide, weighed, whole_coefficients
from hivelearn.patch.adapter import Adapter
from hivelearn.report.progress import Progress
from hivelearn.showing import shown

Score = Callable[[Adapter], float]
AUTO: Final = "auto"
_RECIPES: Final = ("energy", "allow_negative", "seed")  # settings that are the recipe's own


@dataclass(frozen=True, slots=True)
class Way:
    """How a merge is carried out; none of it changes what is merged.

    Attributes:
        out: folder to write, module by module; None keeps the adapter in memory.
        dtype: of the result: float32, bfloat16 or float16.
        trust: one in [0, 1] for each source; it multiplies the recipe's weights,
            and what it withholds stays where it was.
        study: look at all sources first: cosines and norms for the report.
        progress: draw a line; None: on a terminal and in Jupyter only.
    """

    out: str | Path | None = None
    dtype: str = "float32"
    trust: Sequence[float] | None = None
    study: bool = True
    progress: bool | None = None

    def __post_init__(self) -> None:
        """Refuse a place that no file system can have."""
        name = "" if self.out is None else str(self.out)
        if "\0" in name or not name.isprintable() or self.out == "":
            raise MergeError(
                f"{shown(name)} cannot be written: it is no name of a folder",
                remedy="Give another place with out=...",
            )


def merge(
    sources: Sequence[Mergeable],
    *,
    method: str = "linear",
    weights: Sequence[Any] | None = None,
    rank: Rank = None,
    out: str | Path | None = None,
    validate: Score | None = None,
    **settings: Any,
) -> Adapter:
    """Merge LoRA adapters of the same model into one.

    Args:
        sources: adapters, patches, open PEFT models or PEFT folders. Ranks and alphas
            may differ; a module that one of them lacks counts as unchanged by it.
        method: a name of :mod:`hivelearn.merging.table`, such as ``"linear"`` (the
            normalised mean of deltas, exact), ``"ties"``, ``"core_ties"``, ``"karcher"``,
            ``"robust"``; or ``"auto"``, which tries a few and keeps what scores best.
        weights: one per source, numbers or schedules; all alike by default.
        rank: of the result; by default the largest among the sources. ``"stack"``
            concatenates and is exact.
        out: a folder to write instead of keeping the result in memory.
        validate: for ``"auto"``: an adapter to its score on held-out data, higher is better.
        settings: the method's own (``density=.3``, ``lam=.5``), the recipe's (``energy``,
            ``allow_negative``, ``seed``) and the way's (``dtype``, ``trust``, ``progress``).

    Returns:
        An adapter with alpha = rank. It carries the base fingerprint if every source
        does. :func:`combine` also returns the report.

    Raises:
        MergeError: settings or sources that cannot be merged, with the reason.
        AdapterError: a folder or model that is no plain LoRA.
    """
    way = Way(out=out, study=False)
    way = replace(way, **{f.name: settings.pop(f.name) for f in fields(Way) if f.name in settings})
    own = {name: settings.pop(name) for name in _RECIPES if name in settings}
    chosen: Any = () if weights is None else weights  # what it may be, the recipe says
    if method == AUTO:
        from hivelearn.merging.auto import choose

        if settings:
            raise MergeError(f"'auto' finds its own settings and takes no {min(settings)!r}")
        frame = MergeRecipe("linear", chosen, rank=rank, **own)
        return choose(sources, validate, frame, way).adapter
    if validate is not None:
        raise MergeError("validate is for method='auto'", remedy="Leave it out, or pass 'auto'.")
    recipe = MergeRecipe(method, chosen, settings, rank, **own)
    return combine(sources, recipe, way).adapter


def combine(
    sources: Sequence[Mergeable],
    recipe: MergeRecipe,
    way: Way | None = None,
    *,
    validate: Score | None = None,
) -> Merged:
    """Merge as ``recipe`` says; return the adapter with the report of its making.

    Args:
        sources: as for :func:`merge`.
        recipe: method, weights, settings and size.
        way: where to, in what type, with what trust.
        validate: an adapter to its score on held-out data, higher is better. Given, the
            method is found by trying a few, as ``merge(method="auto")`` does, and the
            report says why; of the recipe only weights, rank, energy and seed count.

    Raises:
        MergeError, AdapterError: see :func:`merge`.
    """
    if not isinstance(recipe, MergeRecipe):
        raise MergeError(
            f"a {type(recipe).__name__} is no recipe", remedy="Give hl.MergeRecipe('linear')."
        )
    if validate is not None:
        from hivelearn.merging.auto import choose

        return choose(sources, validate, recipe, way or Way())
    with plain_torch():
        return _combined(sources, recipe, way or Way())


def _combined(sources: Sequence[Mergeable], recipe: MergeRecipe, way: Way) -> Merged:
    """Walk: look at all sources if it must, then merge module by module."""
    opened = open_all(sources)
    if way.out is not None:
        refuse_place(Path(way.out), opened)
    plan = planned(opened, recipe, way.trust)
    wide, tally = adapter_wide(plan), Tally()
    passes = 1 + (wide or way.study)
    with (
        Progress(way.progress, f"merge {recipe.method}", passes * len(plan.modules)) as shown,
        _sink(plan, way) as sink,
    ):
        done = count(1)
        survey = whole = None
        if wide or way.study:
            survey = surveyed(plan, lambda module: shown.at(next(done), module))
        if wide and survey is not None:
            with named(plan, None):
                whole = whole_coefficients(plan, survey)
        for module in plan.modules:
            made = _merged(plan, module, survey, whole, tally)
            sink.put(module, *made)
            shown.at(next(done), module)
        adapter = sink.close()
    if way.out is not None and recipe.energy is not None:
        adapter.save(way.out)
    return Merged(adapter, reported(plan, survey, tally, adapter.rank))


def _merged(
    plan: Plan, module: str, survey: Survey | None, whole: Tensor | None, tally: Tally
) -> tuple[Tensor, Tensor]:
    """Merge one module, note how it went, and return its factors."""
    with named(plan, module):
        found = weighed(plan, module, survey, whole)
        if not found.parts:  # nobody has a weight in this module, so it stays as it is
            d_out, d_in = plan.shape(module)
            tally.nothing(module)
            return torch.zeros(1, d_in), torch.zeros(d_out, 1)
        size = Size(plan.rank, plan.recipe.energy or 1.0)
        made = operate.factors(plan.op, found.parts, found.settings, size)
    tally.note(module, found.coefficients, made)
    return made.a, made.b


def _sink(plan: Plan, way: Way) -> MemorySink | FolderSink:
    dtype = dtype_of(way.dtype)
    rank = plan.rank if plan.recipe.energy is None else None  # an energy's: known at the end only
    refuse_impossible(plan.modules, rank)
    if way.out is None or rank is None:
        return MemorySink(plan.base, dtype, rank, plan.origin)
    shapes = {module: plan.shape(module) for module in plan.modules}
    return FolderSink(Path(way.out), shapes, rank, dtype, plan.base, plan.origin)
