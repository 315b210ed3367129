"""The temperatures, charge, idleness and hours that somebody allows the machine to work at.

Two profiles: :data:`SAFETY` for work a person asked for and waits on (heat and
battery only), :data:`COMFORT` for work nobody waits on (also not while somebody
uses the machine, and only in the given hours).
"""

from dataclasses import dataclass
from datetime import time
from typing import Final

from hivelearn.errors import UsageError

_OTHERWISE: Final = "Give it another value, or leave it out for the default."
_HOURS: Final = 'Give local hours such as "22:00-06:00", or leave them out to work at any time.'


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """When to stop and when to go on; work stops above ``hot`` and resumes below ``cool``.

    Without the gap between the two a laptop would start and stop at every
    reading, and its fan with it.
    """

    cpu_hot_c: float = 85.0
    cpu_cool_c: float = 75.0
    gpu_hot_c: float = 83.0  # where data-centre and desktop cards begin to throttle
    gpu_cool_c: float = 74.0
    battery_hot_c: float = 38.0  # lithium cells age about twice as fast per 10 °C more
    battery_cool_c: float = 36.0
    battery_min_percent: float = 20.0  # even on mains: charging and computing heat together
    idle_min_s: float = 0.0  # 0: work whoever sits there
    hours: str | None = None  # "22:00-06:00" local time, may cross midnight; None: any time
    paused: bool = False  # the user's own word

    def __post_init__(self) -> None:
        for component in ("cpu", "gpu", "battery"):
            cool, hot = getattr(self, f"{component}_cool_c"), getattr(self, f"{component}_hot_c")
            _require(
                cool < hot, f"{component}_cool_c = {cool} is not below {component}_hot_c = {hot}"
            )
        _require(self.idle_min_s >= 0, f"idle_min_s = {self.idle_min_s} is negative")
        percent = self.battery_min_percent
        _require(0 <= percent <= 100, f"battery_min_percent = {percent} is no percentage")  # noqa: PLR2004
        if self.hours is not None:
            _parse_hours(self.hours)

    def open_at(self, now_local: time) -> bool:
        """Return whether ``now_local`` is within the hours: the start is, the end is not."""
        if self.hours is None:
            return True
        start, end = _parse_hours(self.hours)
        minute = now_local.hour * 60 + now_local.minute
        if start < end:
            return start <= minute < end
        return minute >= start or minute < end


def _parse_hours(text: str) -> tuple[int, int]:
    parts = str(text).split("-")
    _require(len(parts) == 2, f"hours {text!r} are not of the form 22:00-06:00", _HOURS)  # noqa: PLR2004
    start, end = (_parse_minute(part.strip(), text) for part in parts)
    _require(start != end, f"hours {text!r} begin where they end", _HOURS)
    return start, end


def _parse_minute(clock: str, text: str) -> int:
    hour, colon, minute = clock.partition(":")
    digits = (hour + minute).isascii() and hour.isdigit() and minute.isdigit()
    _require(bool(colon) and digits, f"hours {text!r} are not of the form 22:00-06:00", _HOURS)
    total = int(hour) * 60 + int(minute)
    right = int(minute) < 60 and total <= 24 * 60  # noqa: PLR2004
    _require(right, f"{clock} in hours {text!r} is no time of day", _HOURS)
    return total % (24 * 60)  # 24:00 is midnight


def _require(holds: bool, what: str, remedy: str = _OTHERWISE) -> None:  # noqa: FBT001 - reads as a sentence at each call
    if not holds:
        raise UsageError(what, remedy=remedy)


SAFETY: Final = DeviceLimits()
COMFORT: Final = DeviceLimits(idle_min_s=300.0)
