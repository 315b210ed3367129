"""mergekit's YAML as a recipe, for the part of it that means something for LoRA.

The same file that merges whole models there merges adapters here, with the same
numbers: deltas are what remains of a model when its base is taken away. What
has no meaning for adapters, or would be ignored, is refused by name: a merge
that silently leaves out a line of its configuration is a wrong merge.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hivelearn.merging.recipe.mergekit_values import dtype, flag, number, unfit, word
from hivelearn.merging.recipe.method_table import TABLE, operator
from hivelearn.merging.recipe.operator import Operator
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.recipe.schedule import Schedule, numbers
from hivelearn.merging.recipe.yaml import document
from hivelearn.printable import shown

_KNOWN: Final = frozenset(
    ("merge_method", "base_model", "models", "parameters", "dtype", "out_dtype")
)
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


def read(path: Path) -> Config:
    """Read a mergekit configuration.

    Raises:
        MergeError: not there, not YAML, or it asks for what cannot be done here.
    """
    return parsed(document(path))


def parsed(config: Any) -> Config:
    """Return what ``config``, a loaded YAML document, asks for.

    Raises:
        MergeError: see :func:`read`.
    """
    if not isinstance(config, dict):
        raise unfit("it is no mapping with merge_method and models")
    for name in sorted(map(shown, config.keys() - _KNOWN)):
        raise unfit(f"{name} says how to build a whole model, and an adapter has none of that")
    method = config.get("merge_method")
    if not isinstance(method, str) or method not in (_MERGEKITS | TABLE.keys()):
        raise unfit(f"merge_method {shown(method)} has no meaning for adapters")
    shared = _mapping(config.get("parameters"), "parameters")
    base = config.get("base_model")
    if base is not None and not _is_path(base):
        raise unfit(f"base_model {shown(base)} is no path")
    models, zero = _without_base(method, _models(config), base, shared)
    recipe = _recipe(method, [own for _, own in models], shared, zero)
    return Config(tuple(path for path, _ in models), recipe, dtype(config))


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise unfit(f"{what} is no mapping")
    return value


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _models(config: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return paths with their own parameters, in the order of the file."""
    rows = config.get("models")
    if not isinstance(rows, list) or not rows:
        raise unfit("it lists no models")
    models = []
    for place, row in enumerate(rows):
        if not isinstance(row, dict) or not _is_path(row.get("model")):
            raise unfit(f"row {place} of models names no folder under 'model'")
        for name in sorted(map(shown, row.keys() - {"model", "parameters"})):
            raise unfit(f"{name} of model {shown(row['model'])} is unknown")
        path = _adapter_of(row["model"])
        models.append((path, _mapping(row.get("parameters"), "a model's parameters")))
    return models


def _adapter_of(model: str) -> str:
    """Return the adapter of mergekit's ``base+adapter``; a folder may have a + in its name."""
    there = os.path.exists(model)  # noqa: PTH110 - a name too long is no error to it
    return model if there else model.rpartition("+")[2] or model


def _without_base(
    method: str, models: list[tuple[str, dict[str, Any]]], base: str | None, shared: dict[str, Any]
) -> tuple[list[tuple[str, dict[str, Any]]], Schedule]:
    """Return the models that have a delta, and what the base's zero delta weighs beside them.

    Most methods take the others' differences from the base, so that it has no say
    of its own. To linear it is one model more, whether listed or not: a model
    that is half base has half the delta.
    """
    if base is None:
        return models, 0.0
    own = next((own for path, own in models if path == base), None)
    if method == "slerp":
        if own is None:
            raise unfit("slerp runs from base_model, which is not among the models")
        return sorted(models, key=lambda model: model[0] != base), 0.0
    if method == "karcher":
        raise unfit("karcher takes base_model for one more point, and its delta has no direction")
    known = _HARMLESS | {"weight"} if method == "linear" else _HARMLESS
    for name in sorted((own or {}).keys() - known):
        raise unfit(f"{method} takes no {shown(name)} of base_model")
    rest = [model for model in models if model[0] != base]
    if not rest:
        raise unfit("it lists no models but base_model")
    if method != "linear":
        return rest, 0.0
    weight = {**shared, **(own or {})}.get("weight")
    if weight is None:
        raise unfit("linear counts base_model as one more model, and it has no weight")
    zero = number(weight, "weight")
    return rest, zero if flag(shared, "normalize", default=True) else 0.0


def _recipe(
    method: str, own: list[dict[str, Any]], shared: dict[str, Any], zero: Schedule
) -> MergeRecipe:
    """Return the recipe of ``method`` with each model's and the shared parameters."""
    method, shared = _same_method(method, shared)
    op = operator(method)
    each = [{**shared, **parameters} for parameters in own]
    weights: tuple[Schedule, ...] = ()
    if any("weight" in one for one in each):
        silent = next((n for n, one in enumerate(each) if "weight" not in one), None)
        if silent is not None:
            raise unfit(f"row {silent} of models has no weight, and others have one")
        weights = tuple(number(one["weight"], "weight") for one in each)
    _check_places(op, own, each)
    if zero != 0.0:
        method, weights = "task_arithmetic", _diluted(weights, zero)
    negative = any(number < 0 for weight in weights for number in numbers(weight))
    return MergeRecipe(method, weights, _settings(op, shared, each), allow_negative=negative)


def _check_places(op: Operator, own: list[dict[str, Any]], each: list[dict[str, Any]]) -> None:
    """Refuse parameters that the method has not, or not for one model alone."""
    theirs = {_THEIRS.get(param.name, param.name): param for param in op.params}
    for name in sorted({name for one in own for name in one} & theirs.keys()):
        if not theirs[name].each:
            raise unfit(f"{name} stands under a model, and is one for all: mergekit ignores it")
    for name in sorted({name for one in each for name in one} - {"weight"} - _HARMLESS):
        harmless = name in _ONLY and all(one.get(name, _ONLY[name]) is _ONLY[name] for one in each)
        if name not in theirs and not harmless:
            raise unfit(f"{op.name} takes no {shown(name)} as it is given here")


def _settings(op: Operator, shared: dict[str, Any], each: list[dict[str, Any]]) -> dict[str, Any]:
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


def _diluted(weights: tuple[Schedule, ...], zero: Schedule) -> tuple[float, ...]:
    """Return the weights of a sum that is the mean in which a zero delta weighs ``zero``."""
    plain = [weight for weight in (*weights, zero) if isinstance(weight, float)]
    if not weights or len(plain) <= len(weights):
        raise unfit("linear counts base_model, and then every weight must be one plain number")
    total = math.fsum(plain)
    if not abs(total) > 1e-6 * math.fsum(map(abs, plain)):
        raise unfit("the weights cancel, so there is no mean to speak of")
    return tuple(weight / total for weight in plain[:-1])


def _same_method(method: str, shared: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name for a method that ``normalize`` turns into another."""
    if method not in ("linear", "task_arithmetic"):
        return method, shared
    rest = {name: value for name, value in shared.items() if name != "normalize"}
    if not flag(shared, "normalize", default=method == "linear"):
        if method == "linear" and "lambda" in rest:
            raise unfit("linear takes no lambda: mergekit ignores it")
        return "task_arithmetic", rest
    if method == "task_arithmetic" and number(rest.pop("lambda", 1.0), "lambda") != 1.0:
        raise unfit("task_arithmetic with normalize and lambda is a scaled mean")
    return "linear", rest
