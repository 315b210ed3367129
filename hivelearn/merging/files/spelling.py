"""Sources that spell one module in two ways are brought to one name, or refused; never united.

United they would be two modules, each merged with the zeros of the other: half a merge, without
a word. Whose spelling counts is the model's, if anybody here knows it: the caller, an open PEFT
model among the sources, or the folder that all of them name as their base.
"""

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files import checkpoint
from hivelearn.merging.files.sources import (
    AdapterSource,
    Mergeable,
    open_all,
    refuse_other_shapes,
)
from hivelearn.patch.model_names import ModelNames
from hivelearn.patch.module_names import core, tails

Clash: TypeAlias = tuple[AdapterSource, str, AdapterSource, str]


def opened_as_one(given: Sequence[Mergeable], model: Any = None) -> list[AdapterSource]:
    """Open every source and give each module one name.

    Args:
        given: as for :func:`hivelearn.merging.merge.merge`.
        model: whose names count: a folder, an open model or ModelNames; None if unknown.

    Raises:
        MergeError: they do not belong together, or two names may be one module and nobody
            here knows the model.
        AdapterError: a folder or model that is no plain LoRA.
    """
    sources = _spelled_as_one(open_all(given), given, model)
    refuse_other_shapes(sources)
    return sources


def _spelled_as_one(
    sources: list[AdapterSource], given: Sequence[Any], model: Any
) -> list[AdapterSource]:
    if model is None and _signed_alike(sources):
        return sources
    clash = _clash(sources)
    if clash is None and model is None:
        return sources
    names = _names_of(model) if model is not None else _found_names(sources, given)
    if names is None:
        assert clash is not None
        raise _two_spellings(clash)
    spelled = [source.respelled(_respelling(source, names)) for source in sources]
    clash = _clash(spelled, names)
    if clash is not None:
        raise _two_spellings(clash)
    return spelled


def tell_strangers(sources: Sequence[AdapterSource]) -> tuple[str, ...]:
    """Return a sentence for each source that shares no module with any other, and warn of it.

    Merging attention from one and the rest from another may be meant. A mean then gives each
    its share of the weight where it stands alone.
    """
    times = Counter(module for source in sources for module in source.shapes)
    alone = [s for s in sources if all(times[module] == 1 for module in s.shapes)]
    if len(sources) == 1:
        return ()
    notes = tuple(
        f"{source.name} has no module in common with the others: where it acts alone, a mean "
        "gives it its share of the weight, not all of it."
        for source in alone
    )
    if notes and not _signed_alike(sources):
        warnings.warn(" ".join(notes), stacklevel=2)
    return notes


def _signed_alike(sources: Sequence[AdapterSource]) -> bool:
    """Return whether all name one fingerprint: their names were held against that model."""
    return None not in (bases := {source.base for source in sources}) and len(bases) == 1


def _clash(sources: Sequence[AdapterSource], names: ModelNames | None = None) -> Clash | None:
    """Return two names of two sources that may be one module, or None.

    Names that stand together in a source, or in the model, are two modules there, and so
    everywhere.
    """
    holders: dict[str, list[int]] = {}
    for place, source in enumerate(sources):
        for module in source.shapes:
            holders.setdefault(module, []).append(place)
    lone = sorted(module for module, who in holders.items() if len(who) < len(sources))
    for one, other in _pairs(lone):
        if not set(holders[one]).isdisjoint(holders[other]):
            continue
        if names is not None and names.has(one) and names.has(other):
            continue
        first, second = sources[holders[one][0]], sources[holders[other][0]]
        if first.shapes[one][:2] == second.shapes[other][:2]:
            return first, one, second, other
    return None


def _pairs(modules: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield every two names that may be spellings of one module."""
    known, by_core = set(modules), defaultdict[str, list[str]](list)
    for module in modules:
        by_core[core(module)].append(module)
        yield from ((module, tail) for tail in tails(module) if tail in known)
    for names in by_core.values():
        yield from combinations(names, 2)


def _two_spellings(clash: Clash) -> MergeError:
    first, one, second, other = clash
    return MergeError(
        f"{one} in {first.name} and {other} in {second.name} may be one module of the model, "
        "spelled in two ways",
        remedy="Give the model, whose names count: hl.merge([...], model='folder of the model'), "
        "or --names-of on the command line; or open one of the adapters with PEFT on the model of "
        "the other and save it again.",
    )


def _respelling(source: AdapterSource, names: ModelNames) -> Mapping[str, str]:
    """Return the source's own names to the model's; what the model lacks keeps its name."""
    spelled = {module: names.name_of(module) or module for module in source.shapes}
    twice = next((new for new, times in Counter(spelled.values()).items() if times > 1), None)
    if twice is not None:
        both = ", ".join(old for old, new in spelled.items() if new == twice)
        raise MergeError(f"{source.name} holds {both}, which are all {twice} in the model")
    return spelled


def _found_names(sources: Sequence[AdapterSource], given: Sequence[Any]) -> ModelNames | None:
    """Return the names of the model that somebody here knows, or None."""
    for one in given:
        if hasattr(one, "peft_config"):
            return ModelNames.of(one)
    models = {source.origin.model for source in sources}
    place = models.pop() if len(models) == 1 else None
    folder = None if place is None else _folder_of(place)
    return None if folder is None else ModelNames.of(checkpoint.skeleton(folder))


def _folder_of(place: str) -> Path | None:
    """Return where a model lies on this machine, in a folder or in the hub's cache."""
    if (Path(place) / "config.json").is_file():
        return Path(place)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(place, "config.json")
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def _names_of(model: Any) -> ModelNames:
    if isinstance(model, ModelNames):
        return model
    if not isinstance(model, str | os.PathLike):
        if not hasattr(model, "named_parameters"):
            raise MergeError(
                f"a {type(model).__name__} is no model",
                remedy="Give the folder of a model, or an open transformers model.",
            )
        return ModelNames.of(model)
    folder = _folder_of(str(model))
    if folder is None:
        raise MergeError(
            f"{model} holds no config.json",
            remedy="Give the folder of the model that the adapters belong to.",
        )
    return ModelNames.of(checkpoint.skeleton(folder))
