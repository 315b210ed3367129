"""mergekit's YAML as a recipe, for the part of it that means something for LoRA.

The same file that merges whole models there merges adapters here, with the same
numbers: deltas are what remains of a model when its base is taken away. What
has no meaning for adapters, or would be ignored, is refused by name: a merge
that silently leaves out a line of its configuration is a wrong merge.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hivelearn.merging.errors import MergeError
from hivelearn.merging.recipe import MergeRecipe
from hivelearn.merging.schedule import ANY, ByName, Gradient, Schedule, numbers, rounded
from hivelearn.merging.table import TABLE, operator

CONFIG_MAX_BYTES: Final = 1 << 20
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
_RESCALE: Final = {True: "l1", False: "none"}
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
    import yaml

    try:
        text = path.read_bytes()[: CONFIG_MAX_BYTES + 1]
        if len(text) > CONFIG_MAX_BYTES:
            raise MergeError(f"{path} is larger than {CONFIG_MAX_BYTES} bytes")
        return parsed(yaml.safe_load(text))
    except OSError as error:
        raise MergeError(
            f"{path} cannot be read: {error.strerror}", remedy="Give the path of a YAML file."
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else "nested too deeply"
        raise MergeError(f"{path} is not YAML: {first}", remedy="Mend the file.") from None


def parsed(config: Any) -> Config:
    """Return what ``config``, a loaded YAML document, asks for.

    Raises:
        MergeError: see :func:`read`.
    """
    if not isinstance(config, dict):
        raise _unfit("it is no mapping with merge_method and models")
    for name in sorted(map(str, config.keys() - _KNOWN)):
        raise _unfit(f"{name!r} says how to build a whole model, and an adapter has none of that")
    method = config.get("merge_method")
    if not isinstance(method, str) or method not in (_MERGEKITS | TABLE.keys()):
        raise _unfit(f"merge_method {method!r} has no meaning for adapters")
    shared = _mapping(config.get("parameters"), "parameters")
    models = _models(config)
    recipe = _recipe(method, [own for _, own in models], shared)
    return Config(tuple(path for path, _ in models), recipe, _dtype(config))


def _unfit(what: str) -> MergeError:
    return MergeError(
        f"this mergekit configuration cannot merge adapters: {what}",
        remedy="Take the line out, or merge whole models with mergekit itself.",
    )


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _unfit(f"{what} is no mapping")
    return value


def _models(config: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return paths with their own parameters; the base is left out: its delta is zero."""
    rows = config.get("models")
    if not isinstance(rows, list) or not rows:
        raise _unfit("it lists no models")
    base = config.get("base_model")
    models = []
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("model"), str):
            raise _unfit(f"{row!r} names no folder under 'model'")
        for name in sorted(map(str, row.keys() - {"model", "parameters"})):
            raise _unfit(f"{name!r} of model {row['model']} is unknown")
        models.append((row["model"], _mapping(row.get("parameters"), "a model's parameters")))
    if config["merge_method"] == "slerp":
        return sorted(models, key=lambda model: model[0] != base)  # t runs from the base model
    return [model for model in models if model[0] != base]


def _recipe(method: str, own: list[dict[str, Any]], shared: dict[str, Any]) -> MergeRecipe:
    """Return the recipe of ``method`` with each model's and the shared parameters."""
    method, shared = _same_method(method, shared)
    op = operator(method)
    each = [{**shared, **parameters} for parameters in own]
    seen = {name for one in each for name in one}
    params: dict[str, Any] = {}
    for param in op.params:
        theirs = _THEIRS.get(param.name, param.name)
        seen.discard(theirs)
        if param.each:
            default = _DEFAULTS.get(param.name, param.default)
            params[param.name] = tuple(_number(one.get(theirs, default), theirs) for one in each)
        elif param.name == "rescale":
            wanted = shared.get(theirs, method.removeprefix("core_") in _L1)
            params[param.name] = _RESCALE.get(wanted, wanted)
        elif theirs in shared or param.name in _DEFAULTS:
            value = shared.get(theirs, _DEFAULTS.get(param.name))
            plain = isinstance(value, bool | str)
            params[param.name] = value if plain else _number(value, theirs)
    for name in sorted(seen - {"weight"} - _HARMLESS):
        if name not in _ONLY or any(one.get(name, _ONLY[name]) != _ONLY[name] for one in each):
            raise _unfit(f"{method} takes no {name} = {shared.get(name)!r} here")
    weights: tuple[Schedule, ...] = ()
    if any("weight" in one for one in each):
        weights = tuple(_number(one.get("weight"), "weight") for one in each)
    negative = any(number < 0 for weight in weights for number in numbers(weight))
    return MergeRecipe(method, weights, params, allow_negative=negative)


def _same_method(method: str, shared: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name for a method that ``normalize`` turns into another."""
    rest = {name: value for name, value in shared.items() if name != "normalize"}
    if method == "linear":
        return ("linear" if shared.get("normalize", True) else "task_arithmetic"), rest
    if method == "task_arithmetic":
        if not shared.get("normalize", False):
            return method, rest
        if rest.pop("lambda", 1) != 1:
            raise _unfit("task_arithmetic with normalize and lambda is a scaled mean")
        return "linear", rest
    return method, shared


def _number(value: Any, what: str) -> Schedule:
    """Return a number, a gradient, or a list of filters, as mergekit writes them."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        return _plain(value, what)
    if not any(isinstance(row, Mapping) for row in value):
        return Gradient(tuple(_plain(point, what) for point in value))
    rules: list[tuple[str, float | Gradient]] = []
    for row in value:
        if not isinstance(row, Mapping) or not {"value"} <= row.keys() <= {"value", "filter"}:
            raise _unfit(f"{what} {row!r} is no filter with a value")
        inner = _number(row["value"], what)
        if isinstance(inner, ByName):
            raise _unfit(f"{what} has a filter inside a filter")
        rules.append((row.get("filter") or ANY, inner))
    return ByName(tuple(rules))


def _plain(value: Any, what: str) -> float:
    if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a word
        try:
            value = float(value)
        except ValueError:
            raise _unfit(f"{what} {value!r} is not a number") from None
    return rounded(value, what)


def _dtype(config: Mapping[str, Any]) -> str:
    wanted = config.get("out_dtype") or config.get("dtype") or "float32"
    if wanted not in ("float32", "bfloat16", "float16"):
        raise _unfit(f"dtype {wanted!r} is not one of float32, bfloat16, float16")
    return str(wanted)
