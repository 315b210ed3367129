"""Values as mergekit writes them in YAML: numbers, gradients, filters, words, types."""

from collections.abc import Mapping
from typing import Any, Final

from hivelearn.merging.errors import MergeError
from hivelearn.merging.recipe.schedule import (
    ANY,
    END,
    TEXT_MAX,
    ByName,
    Gradient,
    Schedule,
    rounded,
)
from hivelearn.printable import shown

_TENSOR: Final = ".weight"  # what mergekit's filters see behind a module's name
DTYPES: Final = ("float32", "bfloat16", "float16")


def unfit(what: str, remedy: str | None = None) -> MergeError:
    """Return the error for a configuration that means nothing for adapters."""
    return MergeError(
        f"this mergekit configuration cannot merge adapters: {what}",
        remedy=remedy or "Take the line out, or merge whole models with mergekit itself.",
    )


def flag(shared: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """Return what is true or false."""
    value = shared.get(name, default)
    if not isinstance(value, bool):
        raise unfit(f"{name} {shown(value)} is neither true nor false")
    return value


def number(value: Any, what: str, *, inner: bool = False) -> Schedule:
    """Return a number, a gradient, or a list of filters, as mergekit writes them."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        return _plain(value, what)
    if not any(isinstance(row, Mapping) for row in value):
        return Gradient(tuple(_plain(point, what) for point in value))
    if inner:
        raise unfit(f"{what} has a filter inside a filter")
    rules: list[tuple[str, float | Gradient]] = []
    for row in value:
        if not isinstance(row, Mapping) or not {"value"} <= row.keys() <= {"value", "filter"}:
            raise unfit(f"{what} has {shown(row)} that is no filter with a value")
        found = number(row["value"], what, inner=True)
        assert not isinstance(found, ByName)
        rules.extend((text, found) for text in _texts(row.get("filter")))
    return ByName(tuple(rules))


def _texts(text: Any) -> tuple[str, ...]:
    """Return rules for just the modules whose tensor's name, in mergekit, has ``text`` in it.

    That name is the module's and ``.weight``. A text may reach from one into the
    other, as in ``q_proj.weight``: then what is before the last dot ends the module's.
    """
    if text is None or text == ANY:
        return (ANY,)
    if not isinstance(text, str) or len(text) > TEXT_MAX or END in text:
        raise unfit(f"filter {shown(text)} is no part of a tensor's name")
    if text in _TENSOR:
        return (ANY,)
    stem, dot, tail = text.rpartition(".")
    return (stem + END, text) if dot and _TENSOR.startswith(dot + tail) else (text,)


def word(value: Any, what: str) -> bool | str:
    """Return one of a setting's words."""
    if not isinstance(value, bool | str) or len(str(value)) > TEXT_MAX:
        raise unfit(f"{what} {shown(value)} is not one of its words")
    return value


def _plain(value: Any, what: str) -> float:
    if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a word
        try:
            value = float(value)
        except ValueError:
            raise unfit(f"{what} {shown(value)} is not a number") from None
    return rounded(value, what)


def dtype(config: Mapping[str, Any]) -> str:
    """Return the type of the result: mergekit computes in ``dtype`` and may write another."""
    given = [config[name] for name in ("out_dtype", "dtype") if config.get(name) is not None]
    for value in given:
        if value not in DTYPES:
            raise unfit(f"dtype {shown(value)} is not one of {', '.join(DTYPES)}")
    return str(given[0]) if given else "float32"
