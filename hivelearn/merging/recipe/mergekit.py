"""mergekit's YAML as a recipe, for the part of it that means something for LoRA.

The same file that merges whole models there merges adapters here, with the same
numbers: deltas are what remains of a model when its base is taken away. What
has no meaning for adapters, or would be ignored, is refused by name: a merge
that silently leaves out a line of its configuration is a wrong merge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from hivelearn.merging.recipe.mergekit_base import Asked, against_base, diluted, rebased
from hivelearn.merging.recipe.mergekit_models import (
    ModelRef,
    Places,
    Row,
    bases_of,
    refuse_absent,
    unsliced,
)
from hivelearn.merging.recipe.mergekit_values import dtype, flag, number, unfit, word
from hivelearn.merging.recipe.method_table import TABLE, closest, operator
from hivelearn.merging.recipe.operator import Operator
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.recipe.schedule import Schedule, numbers
from hivelearn.merging.recipe.yaml import document
from hivelearn.printable import shown

_KNOWN: Final = frozenset("merge_method base_model models parameters dtype out_dtype".split())
_MERGEKITS: Final = frozenset(
    "linear task_arithmetic slerp nuslerp multislerp karcher model_stock ties dare_linear "
    "dare_ties della della_linear breadcrumbs breadcrumbs_ties sce".split()
)
_THEIRS: Final = {"lam": "lambda", "rounds": "max_iter"}  # our word to theirs
# What mergekit takes when the file says nothing, where our own default differs.
_DEFAULTS: Final = {"density": 1.0, "rounds": 10.0}
_L1: Final = frozenset(("dare_linear", "dare_ties", "della", "della_linear"))  # rescale by itself
_RESCALE: Final[Mapping[bool | str, str]] = {True: "l1", False: "none"}
# Settings that mean what we do anyway at the value given, and nothing else here.
_ONLY: Final[Mapping[str, bool]] = {
    "nuslerp_flatten": True,
    "nuslerp_row_wise": False,
    "normalize_weights": True,
    "filter_wise": False,
}
_HARMLESS: Final = frozenset(("int8_mask", "tol", "eps"))  # how it is computed, not what


@dataclass(frozen=True, slots=True)
class Config:
    """What a configuration file asks for."""

    sources: tuple[str, ...]
    recipe: MergeRecipe
    dtype: str
    notes: tuple[str, ...] = ()  # lines that change nothing, each told in a sentence


def read(path: Path) -> Config:
    """Read a mergekit configuration.

    Raises:
        MergeError: not there, not YAML, or it asks for what cannot be done here.
    """
    config = parsed(document(path), Places(path.absolute().parent))
    refuse_absent(config.sources)
    return config


def parsed(config: Any, places: Places | None = None) -> Config:
    """Return what ``config``, a loaded YAML document, asks for.

    Raises:
        MergeError: see :func:`read`.
    """
    if not isinstance(config, dict):
        raise unfit("it is no mapping with merge_method and models")
    notes = _of_tokenizer(config)
    if "slices" in config and "models" not in config:
        models, notes["slices"] = unsliced(config["slices"])
        config = {**config, "models": models}
    for name in sorted(map(shown, config.keys() - _KNOWN - notes.keys())):
        raise unfit(f"{name} says how to build a whole model, and an adapter has none of that")
    method = config.get("merge_method")
    if not isinstance(method, str) or method not in (_MERGEKITS | TABLE.keys()):
        meant = closest(method, _MERGEKITS | TABLE.keys())
        raise unfit(
            f"merge_method {shown(method)} has no meaning for adapters",
            remedy=f"Did you mean {meant}?" if meant else None,
        )
    shared = _mapping(config.get("parameters"), "parameters")
    places = places or Places()
    base = config.get("base_model")
    # A slerp runs from one of its models: what stands there alone is an adapter like they.
    alone = places.reference(base, "base_model") if method == "slerp" and base else None
    found = alone or (None if base is None else places.base_model(base))
    rows = _rows(config, places, found)
    idle = [*_idle(shared, "parameters")]
    for row in rows:
        idle += _idle(row.own, f"model {row.model}")
    asked = against_base(method, rows, found, shared)
    return Config(
        asked.sources, _recipe(asked), dtype(config), (*notes.values(), *idle, *asked.notes)
    )


def _of_tokenizer(config: Mapping[Any, Any]) -> dict[str, str]:
    """Return what is told, by key, of a tokenizer that stays the base's: an adapter has none."""
    plain = {"tokenizer_source": "base", "tokenizer": {"source": "base"}}
    return {
        name: f"{name}: an adapter has no tokenizer, and its base's stays as it is"
        for name, value in plain.items()
        if name in config and config[name] in (value, None)
    }


def _idle(parameters: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return what is told of settings that say how mergekit computes, and not what."""
    return tuple(
        f"{name} of {where} says how mergekit computes, and changes nothing here"
        for name in sorted(_HARMLESS & parameters.keys())
    )


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise unfit(f"{what} is no mapping")
    return value


def _rows(config: Mapping[str, Any], places: Places, base: ModelRef | None) -> list[Row]:
    """Return the models with their own parameters, in the order of the file."""
    listed = config.get("models")
    if not isinstance(listed, list) or not listed:
        raise unfit("it lists no models")
    rows = []
    for place, row in enumerate(listed):
        if not isinstance(row, dict) or not isinstance(row.get("model"), str | dict):
            raise unfit(f"row {place} of models names no folder under 'model'")
        for name in sorted(map(shown, row.keys() - {"model", "parameters"})):
            raise unfit(f"{name} of model {shown(row['model'])} is unknown")
        model = places.reference(row["model"], f"model {place}")
        rows.append(Row(model, _mapping(row.get("parameters"), "a model's parameters")))
    bases = bases_of([*(row.model for row in rows), *([base] if base else [])])
    # What is written like an adapter and is a base has no delta.
    return [
        replace(row, model=ModelRef(row.model.adapter, None))
        if row.model.base is None and row.model.adapter in bases
        else row
        for row in rows
    ]


def _recipe(asked: Asked) -> MergeRecipe:
    """Return the recipe of the method with each model's and the shared parameters."""
    method, shared = _same_method(asked.method, asked.shared)
    op, own = operator(method), [row.own for row in asked.rows]
    each = [{**shared, **parameters} for parameters in own]
    weights: tuple[Schedule, ...] = ()
    if any("weight" in one for one in each):
        silent = next((n for n, one in enumerate(each) if "weight" not in one), None)
        if silent is not None:
            raise unfit(f"{asked.rows[silent].model} has no weight, and others have one")
        weights = tuple(number(one["weight"], "weight") for one in each)
    _check_places(op, own, each)
    if asked.zero != 0.0:
        method, weights = "task_arithmetic", diluted(weights, asked.zero)
    negative = any(number < 0 for weight in weights for number in numbers(weight))
    recipe = MergeRecipe(method, weights, _settings(op, shared, each), allow_negative=negative)
    return recipe if asked.origin is None else rebased(recipe, len(own))


def _check_places(
    op: Operator, own: Sequence[Mapping[str, Any]], each: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse parameters that the method has not, or not for one model alone."""
    theirs = {_THEIRS.get(param.name, param.name): param for param in op.params}
    for name in sorted({name for one in own for name in one} & theirs.keys()):
        if not theirs[name].each:
            raise unfit(f"{name} stands under a model, and is one for all: mergekit ignores it")
    for name in sorted({name for one in each for name in one} - {"weight"} - _HARMLESS):
        harmless = name in _ONLY and all(one.get(name, _ONLY[name]) is _ONLY[name] for one in each)
        if name not in theirs and not harmless:
            raise unfit(f"{op.name} takes no {shown(name)} as it is given here")


def _settings(
    op: Operator, shared: Mapping[str, Any], each: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the method's settings: the file's, or else mergekit's default."""
    params: dict[str, Any] = {}
    for param in op.params:
        theirs = _THEIRS.get(param.name, param.name)
        default = _DEFAULTS.get(param.name, param.default)
        if param.each:
            params[param.name] = tuple(number(one.get(theirs, default), theirs) for one in each)
        elif param.name == "rescale":
            wanted = word(shared.get(theirs, op.name.removeprefix("core_") in _L1), theirs)
            params[param.name] = _RESCALE.get(wanted, wanted)
        elif theirs in shared and (param.choices or isinstance(param.default, bool)):
            params[param.name] = word(shared[theirs], theirs)
        elif theirs in shared or param.name in _DEFAULTS:
            params[param.name] = number(shared.get(theirs, default), theirs)
    return params


def _same_method(method: str, shared: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name for a method that ``normalize`` turns into another."""
    if method not in ("linear", "task_arithmetic"):
        return method, dict(shared)
    rest = {name: value for name, value in shared.items() if name != "normalize"}
    if not flag(shared, "normalize", default=method == "linear"):
        if method == "linear" and "lambda" in rest:
            raise unfit("linear takes no lambda: mergekit ignores it")
        return "task_arithmetic", rest
    if method == "task_arithmetic" and number(rest.pop("lambda", 1.0), "lambda") != 1.0:
        raise unfit("task_arithmetic with normalize and lambda is a scaled mean")
    return "linear", rest
