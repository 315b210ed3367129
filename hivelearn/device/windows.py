"""Windows: the ACPI thermal zone where it may be read, and the time of the last input.

The thermal zone mostly needs administrator rights; then it is unknown with
that reason. The battery comes from psutil (:mod:`hivelearn.device.portable`).
"""

import ctypes
import re
from typing import Any, Final

from hivelearn.device import plausible
from hivelearn.device.reading import Reading, Sensed, known, unknown

THERMAL_ZONE: Final = (
    "powershell",
    "-NoProfile",
    "-NonInteractive",
    "-Command",
    (
        "(Get-CimInstance -Namespace root/wmi -ClassName MSAcpi_ThermalZoneTemperature"
        " -ErrorAction Stop).CurrentTemperature"
    ),
)
ZERO_C_IN_K: Final = 273.15
_TICKS: Final = 2**32  # GetTickCount counts milliseconds and wraps after 49.7 days


def parse_thermal_zone(text: str) -> Reading:
    """Return the hottest zone; ``text`` holds tenths of kelvin, one number a zone.

    Reads the output of the command above and of ``wmic ... get
    CurrentTemperature`` (with ``/value`` or as a table).
    """
    tenths = [int(number) for number in re.findall(r"(?<!\d)\d{4}(?!\d)", text)]
    zones = [tenth / 10 - ZERO_C_IN_K for tenth in tenths if tenth not in plausible.ACPI_CONSTANTS]
    found = [celsius for celsius in zones if plausible.believed(celsius)]
    if not found:
        return Reading(cpu_c=unknown("Windows shows no thermal zone to this user"))
    return Reading(cpu_c=known(max(found)))


def idle_between(last_input_ticks: int, now_ticks: int) -> Sensed[float]:
    """Return the seconds from the last input to now, across a wrap of the counter."""
    return known((now_ticks - last_input_ticks) % _TICKS / 1000)


class _LastInput(ctypes.Structure):
    """LASTINPUTINFO of winuser.h."""

    _fields_ = (("cbSize", ctypes.c_uint), ("dwTime", ctypes.c_uint))


def idle(windll: Any = None) -> Reading:
    """Return the idle time from GetLastInputInfo; unknown on any other system.

    Args:
        windll: the system's libraries; None takes those of ctypes, if it has them.
    """
    windll = windll or getattr(ctypes, "windll", None)
    if windll is None:
        return Reading(idle_s=unknown("this is not Windows"))
    last = _LastInput(ctypes.sizeof(_LastInput), 0)
    if not windll.user32.GetLastInputInfo(ctypes.byref(last)):
        return Reading(idle_s=unknown("Windows does not tell the last input to this session"))
    now_ticks = windll.kernel32.GetTickCount() % _TICKS
    return Reading(idle_s=idle_between(last.dwTime, now_ticks))
