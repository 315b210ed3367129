"""Numbers that may differ by layer or by module's name, as merge configurations have them.

A setting is one number, a gradient over the depth of the model, or a list of
names with a number each. All are frozen values in fixed point, so that a recipe
made of them has one encoding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from hivelearn import codec
from hivelearn.merging.errors import MergeError
from hivelearn.patch.peft_config import layer_of
from hivelearn.printable import shown

ANY: Final = "*"
END: Final = "$"  # of a module's name, which has letters, digits, _ and . alone
POINTS_MAX: Final = 1_024
RULES_MAX: Final = 256
TEXT_MAX: Final = 200


def rounded(value: object, what: str) -> float:
    """Return ``value`` as a recipe keeps it: a float in steps of 1e-6.

    Raises:
        MergeError: it is no finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MergeError(f"{what} {shown(value)} is not a number")
    try:
        return codec.real(codec.fixed(float(value)))
    except (codec.CodecError, OverflowError):
        raise MergeError(f"{what} {shown(value)} is not a finite number within ±1e12") from None


@dataclass(frozen=True, slots=True)
class Gradient:
    """Numbers at equal distances from the first layer to the last, linear between."""

    points: tuple[float, ...]

    def __post_init__(self) -> None:
        """Round the points; refuse none and too many."""
        if not 0 < len(self.points) <= POINTS_MAX:
            raise MergeError(f"a gradient has 1 … {POINTS_MAX} points, not {len(self.points)}")
        points = tuple(rounded(point, "a gradient's point") for point in self.points)
        object.__setattr__(self, "points", points)

    def at(self, depth: float) -> float:
        """Return the value at ``depth``, from 0 (first layer) to 1 (last)."""
        place = min(max(depth, 0.0), 1.0) * (len(self.points) - 1)
        low = min(int(place), max(len(self.points) - 2, 0))
        high = min(low + 1, len(self.points) - 1)
        part = place - low
        return (1.0 - part) * self.points[low] + part * self.points[high]


@dataclass(frozen=True, slots=True)
class ByName:
    """The value of the first rule whose text stands in the module's name; a dict is as good.

    ``"*"`` takes any module; a text that ends in ``$`` stands at the name's end.
    """

    rules: tuple[tuple[str, "float | Gradient"], ...]

    def __post_init__(self) -> None:
        """Round the numbers; refuse rules that nobody can read."""
        if isinstance(self.rules, Mapping):
            object.__setattr__(self, "rules", tuple(self.rules.items()))
        if not 0 < len(self.rules) <= RULES_MAX:
            raise MergeError(f"a setting by name has 1 … {RULES_MAX} rules, not {len(self.rules)}")
        kept: list[tuple[str, float | Gradient]] = []
        for rule in self.rules:
            if not isinstance(rule, tuple | list) or len(rule) != 2:  # noqa: PLR2004 - a pair
                raise MergeError(f"{shown(rule)} is no rule (text, value) of a setting by name")
            text, value = rule
            if not isinstance(text, str) or not 0 < len(text) <= TEXT_MAX:
                raise MergeError(f"{shown(text)} is no part of a module's name")
            number = value if isinstance(value, Gradient) else rounded(value, f"value of {text!r}")
            kept.append((text, number))
        object.__setattr__(self, "rules", tuple(kept))

    def of(self, module: str) -> "float | Gradient | None":
        """Return the value for ``module``, or None if no rule speaks of it."""
        name = module + END
        return next((v for text, v in self.rules if text == ANY or text in name), None)


Schedule: TypeAlias = float | Gradient | ByName


def schedule(value: object, what: str) -> Schedule:
    """Return ``value`` as a schedule: a number, a Gradient or a ByName.

    Raises:
        MergeError: it is none of these.
    """
    return value if isinstance(value, Gradient | ByName) else rounded(value, what)


def numbers(setting: Schedule) -> list[float]:
    """Return every number in ``setting``, to check their range."""
    if isinstance(setting, Gradient):
        return list(setting.points)
    if isinstance(setting, ByName):
        return [n for _, value in setting.rules for n in numbers(value)]
    return [setting]


def complement(setting: Schedule) -> Schedule:
    """Return 1 minus ``setting``, wherever it is read."""
    if isinstance(setting, ByName):
        return ByName(tuple((text, _complement(value)) for text, value in setting.rules))
    return _complement(setting)


def _complement(value: float | Gradient) -> float | Gradient:
    if isinstance(value, Gradient):
        return Gradient(tuple(1.0 - point for point in value.points))
    return rounded(1.0 - value, "a complement")


def resolve(setting: Schedule, module: str, depths: Mapping[str, float], what: str) -> float:
    """Return the number that ``setting`` gives ``module``.

    Args:
        setting: what the recipe says.
        module: full name.
        depths: module to its depth, 0 … 1; see :func:`depths_of`.
        what: the setting's name, for the message.

    Raises:
        MergeError: no rule speaks of this module.
    """
    value = setting.of(module) if isinstance(setting, ByName) else setting
    if value is None:
        raise MergeError(
            f"{what} says nothing of {module}",
            module=module,
            remedy=f"End its list with a rule for every other module: ({ANY!r}, value).",
        )
    return value.at(depths[module]) if isinstance(value, Gradient) else value


def depths_of(modules: list[str]) -> dict[str, float]:
    """Return each module's depth: its layer over the last one merged; 0 without a layer."""
    last = max((layer_of(module) or 0 for module in modules), default=0)
    return {module: (layer_of(module) or 0) / max(last, 1) for module in modules}


def to_value(setting: Schedule) -> codec.Value:
    """Return ``setting`` for the codec: an integer, or a list that starts with its kind."""
    if isinstance(setting, Gradient):
        return [0, *(codec.fixed(point) for point in setting.points)]
    if isinstance(setting, ByName):
        return [1, *([text, to_value(value)] for text, value in setting.rules)]
    return codec.fixed(setting)


def from_value(value: codec.Value) -> Schedule:
    """Return the setting that :func:`to_value` wrote.

    Raises:
        MergeError: it wrote no such thing.
    """
    match value:
        case bool():
            pass
        case int():
            return codec.real(value)
        case [0, *points] if all(type(p) is int for p in points):
            return Gradient(tuple(codec.real(p) for p in points if isinstance(p, int)))
        case [1, *rules]:
            return ByName(tuple(_rule(rule) for rule in rules))
        case _:
            pass
    raise MergeError(f"{shown(value)} is no setting of a recipe")


def _rule(value: codec.Value) -> tuple[str, float | Gradient]:
    match value:
        case [str(text), inner]:
            found = from_value(inner)
            if not isinstance(found, ByName):
                return text, found
        case _:
            pass
    raise MergeError(f"{shown(value)} is no rule of a setting by name")
