"""``hl.merge``: adapters, patches, PEFT folders and open models in, one adapter out."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, Literal, overload

from hivelearn.bounds import FLAG, NONE, Rule, check
from hivelearn.merging.auto import Validate, choose
from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.sources import Mergeable
from hivelearn.merging.recipe.recipe import MergeRecipe, Rank
from hivelearn.merging.run.options import MergeOptions
from hivelearn.merging.run.run import run_merge
from hivelearn.patch.adapter import Adapter
from hivelearn.report.merge_report import MergeReport

AUTO: Final = "auto"
_SCORE: Final = NONE | Rule("a function from an adapter to its score", callable)
_RECIPES: Final = ("energy", "allow_negative", "seed")  # settings that are the recipe's own


@overload
def merge(
    sources: Sequence[Mergeable],
    method: str | MergeRecipe = ...,
    *,
    weights: Sequence[Any] | None = ...,
    rank: Rank = ...,
    out: str | Path | None = ...,
    validate: Validate | None = ...,
    report: Literal[False] = ...,
    **settings: Any,
) -> Adapter: ...


@overload
def merge(
    sources: Sequence[Mergeable],
    method: str | MergeRecipe = ...,
    *,
    weights: Sequence[Any] | None = ...,
    rank: Rank = ...,
    out: str | Path | None = ...,
    validate: Validate | None = ...,
    report: Literal[True],
    **settings: Any,
) -> tuple[Adapter, MergeReport]: ...


def merge(
    sources: Sequence[Mergeable],
    method: str | MergeRecipe = "linear",
    *,
    weights: Sequence[Any] | None = None,
    rank: Rank = None,
    out: str | Path | None = None,
    validate: Validate | None = None,
    report: bool = False,
    **settings: Any,
) -> Adapter | tuple[Adapter, MergeReport]:
    """Merge LoRA adapters of the same model into one.

    Args:
        sources: adapters, patches, open PEFT models or PEFT folders. Ranks and alphas
            may differ; a module that one of them lacks counts as unchanged by it. A module
            that two of them spell differently is matched by the model (``model=``), or refused.
        method: a name of :mod:`hivelearn.merging.recipe.method_table`, such as ``"linear"`` (the
            normalised mean of deltas, exact), ``"ties"``, ``"core_ties"``, ``"karcher"``,
            ``"robust"``; or ``"auto"``, which tries a few and keeps what scores best; or
            a whole recipe, which then also says weights, rank and settings.
        weights: one per source, numbers or schedules; all alike by default.
        rank: of the result; by default the largest among the sources. ``"stack"``
            concatenates and is exact.
        out: a folder to write instead of keeping the result in memory.
        validate: for ``"auto"``: an adapter to its score on held-out data, higher is better.
        report: also return how it went. The sources are then studied first (one more
            pass), unless ``study=False``.
        settings: the method's own (``density=.3``, ``lam=.5``), the recipe's (``energy``,
            ``allow_negative``, ``seed``) and those of :class:`MergeOptions` (``dtype``,
            ``trust``, ``study``, ``model``, ``progress``).

    Returns:
        An adapter with alpha = rank, or with ``report`` a tuple of it and its report. It
        carries the base fingerprint if every source does.

    Raises:
        MergeError: settings or sources that cannot be merged, with the reason.
        AdapterError: a folder or model that is no plain LoRA.
    """
    check({"report": FLAG, "validate": _SCORE}, {"report": report, "validate": validate})
    options = MergeOptions(out=out, study=report)
    chosen = {f.name: settings.pop(f.name) for f in fields(MergeOptions) if f.name in settings}
    options = replace(options, **chosen)
    if isinstance(method, MergeRecipe):
        _refuse_beside_recipe(weights=weights, rank=rank, **settings)
        recipe = method
    else:
        recipe = _recipe(method, weights, rank, settings)
    if method == AUTO:
        made = choose(sources, validate, recipe, options)
    elif validate is not None:
        raise MergeError("validate is for method='auto'", remedy="Leave it out, or pass 'auto'.")
    else:
        made = run_merge(sources, recipe, options)
    return made if report else made[0]


def _recipe(
    method: str, weights: Sequence[Any] | None, rank: Rank, settings: dict[str, Any]
) -> MergeRecipe:
    """Return the recipe of a call; that of ``"auto"`` is the frame of what it tries."""
    own = {name: settings.pop(name) for name in _RECIPES if name in settings}
    if method == AUTO and settings:
        raise MergeError(f"'auto' finds its own settings and takes no {min(settings)!r}")
    name = "linear" if method == AUTO else method
    chosen: Any = () if weights is None else weights  # what it may be, the recipe says
    return MergeRecipe(name, chosen, settings, rank, **own)


def _refuse_beside_recipe(**given: Any) -> None:
    """Refuse what a recipe says itself."""
    twice = sorted(name for name, value in given.items() if value is not None)
    if twice:
        raise MergeError(
            f"{twice[0]} is given beside a recipe, which says that itself",
            remedy=f"Put {twice[0]} into the MergeRecipe, or give a method's name instead of it.",
        )
