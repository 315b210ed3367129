"""What the machine felt at one moment, where "unknown" is a value with a reason.

A sensor that is absent, forbidden or silent is not zero and not an exception:
it is ``Sensed(None, why)``, and :mod:`hivelearn.device.decide` decides what
blindness means. Sources each know a part; :func:`combine` lays them over one
another.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Generic, TypeVar

from hivelearn.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sensed(Generic[T]):
    """A measured value, or None and why there is none."""

    value: T | None
    why: str = ""  # why it is unknown; empty when it is known

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.why):
            raise UsageError(
                "a sensed value is either known or has a reason why not",
                remedy="Write known(value) or unknown('why').",
            )

    def __str__(self) -> str:
        """The value, or "unknown" and the reason."""
        return f"unknown: {self.why}" if self.value is None else str(self.value)


def known(value: T) -> Sensed[T]:
    """Return ``value`` as measured."""
    return Sensed(value)


def unknown(why: str) -> Sensed[T]:
    """Return "unknown" with its reason."""
    return Sensed(None, why)


_NOT_ASKED: Sensed[float] = Sensed(None, "no source was asked")
_WORD_NOT_ASKED: Sensed[str] = Sensed(None, "no source was asked")
_FLAG_NOT_ASKED: Sensed[bool] = Sensed(None, "no source was asked")


@dataclass(frozen=True, slots=True)
class Reading:
    """Every quantity that a permit may depend on, each known or unknown with its reason."""

    cpu_c: Sensed[float] = _NOT_ASKED  # hottest CPU or package sensor, °C
    gpu_c: Sensed[float] = _NOT_ASKED  # hottest GPU, °C
    battery_c: Sensed[float] = _NOT_ASKED  # hottest system battery, °C
    battery_percent: Sensed[float] = _NOT_ASKED  # of the emptiest system battery, 0 to 100
    battery_health: Sensed[str] = _WORD_NOT_ASKED  # in the driver's words; see battery_health.py
    idle_s: Sensed[float] = _NOT_ASKED  # since somebody last touched keyboard, mouse or terminal
    load: Sensed[float] = _NOT_ASKED  # running tasks per core, mean of one minute
    has_battery: Sensed[bool] = _FLAG_NOT_ASKED  # mice and headsets do not count
    on_mains: Sensed[bool] = _FLAG_NOT_ASKED  # a charger or the wall feeds the machine

    def described(self) -> dict[str, str]:
        """Return one text per quantity, for `hivelearn doctor` and reports."""
        return {
            field.name: _described(field.name, getattr(self, field.name)) for field in fields(self)
        }


def _described(name: str, sensed: "Sensed[Any]") -> str:
    """Return a quantity as people say it: its unit is the end of its name."""
    value = sensed.value
    if value is None:
        return str(sensed)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_s"):
        return str(timedelta(seconds=round(value)))
    if name.endswith("_c"):
        return f"{value:.0f} °C"
    return f"{value:.0f} %" if name.endswith("_percent") else f"{value:.2f}"


def nothing(why: str) -> Reading:
    """Return the reading of a source that failed as a whole."""
    return Reading(**{field.name: Sensed(None, why) for field in fields(Reading)})


def combine(readings: Iterable[Reading]) -> Reading:
    """Lay partial readings over one another: the first known value of each quantity wins.

    A quantity that nobody knows keeps all reasons of those who tried, so that
    a person sees which door to knock at.
    """
    rows = list(readings)
    return Reading(
        **{
            field.name: _first([getattr(row, field.name) for row in rows])
            for field in fields(Reading)
        }
    )


def _first(candidates: list[Sensed[T]]) -> Sensed[T]:
    for candidate in candidates:
        if candidate.value is not None:
            return candidate
    tried = [c.why for c in candidates if c.why != _NOT_ASKED.why]
    return Sensed(None, "; ".join(dict.fromkeys(tried)) or _NOT_ASKED.why)
