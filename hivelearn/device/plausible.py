"""Which values a sensor can mean: what is no measurement is unknown, and unknown is not cool.

Drivers fill what they cannot measure with 0, -1, 127, 2^31 or a constant of the firmware.
A machine that computes is warm, so a value below a room's is believed only where another
sensor of the same machine agrees; a temperature of exactly 0 never speaks for another.
"""

from collections.abc import Iterable
from typing import Final

COLDEST_C: Final = -40.0  # beyond: no reading, such as -273.2 or -127
HOTTEST_C: Final = 120.0  # beyond: no reading, such as 127, 128 or 255; silicon stops before
ROOM_C: Final = 10.0  # what computes is warmer, unless the room is colder
COLD_ROOM_C: Final = 25.0  # another sensor below this makes a cold room likely
PERCENT_MAX: Final = 110.0  # a new battery may tell a little more than 100

# Deci-kelvin that firmware answers for a thermal zone which measures nothing
# (16.8, 27.8 and 29.8 °C): boards of many makers show them, whatever the load.
ACPI_CONSTANTS: Final = frozenset({2900, 3010, 3030})
_ACPI_ZERO_DK: Final = 2732


def believed(celsius: float, others: Iterable[float] = ()) -> bool:
    """Return whether a temperature can be one, given what other sensors say now."""
    if not COLDEST_C < celsius < HOTTEST_C:  # NaN, too
        return False
    if celsius >= ROOM_C:
        return True
    return any(COLDEST_C < other < COLD_ROOM_C and other != 0 for other in others)


def believed_of(named: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return those of a machine's sensors, name and °C, that can be true together."""
    rows = list(named)
    return [
        (name, celsius)
        for at, (name, celsius) in enumerate(rows)
        if believed(celsius, (other for n, (_, other) in enumerate(rows) if n != at))
    ]


def is_acpi_constant(celsius: float) -> bool:
    """Return whether an ACPI thermal zone says what firmware says for nothing."""
    return round(celsius * 10) + _ACPI_ZERO_DK in ACPI_CONSTANTS


def charge(percent: float | None, *, moving: bool = True) -> float | None:
    """Return a battery's charge, 0 to 100, or None if that is no charge.

    Args:
        percent: as the driver tells it.
        moving: whether it charges or discharges. One that rests at 0 on the mains is an
            empty bay, or a pack that does not answer.
    """
    if percent is None or not 0 <= percent <= PERCENT_MAX or (percent == 0 and not moving):
        return None
    return min(percent, 100.0)
