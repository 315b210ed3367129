"""macOS: what ``pmset`` and ``ioreg`` print, without administrator rights.

No CPU temperature is open to a normal user there; the battery's is. ioreg's
``"Temperature"`` counts hundredths of a degree Celsius (3094 is 30.94 °C).
"""

import re
from typing import Final

from hivelearn.device import battery_health, plausible
from hivelearn.device.reading import Reading, Sensed, known, unknown

PMSET: Final = ("pmset", "-g", "batt")
IOREG_BATTERY: Final = ("ioreg", "-r", "-n", "AppleSmartBattery")
IOREG_IDLE: Final = ("ioreg", "-c", "IOHIDSystem", "-d", "4")

_NO_CPU: Final[Sensed[float]] = Sensed(None, "macOS shows no CPU temperature without root")


def parse_pmset(text: str) -> Reading:
    """Return power source and charge from ``pmset -g batt``."""
    source = re.search(r"drawing from '([^']+)'", text)
    if source is None:
        why = "pmset names no power source"
        return Reading(on_mains=unknown(why), has_battery=unknown(why), cpu_c=_NO_CPU)
    # An uninterruptible power supply is listed too, by its product name.
    battery = re.search(r"-InternalBattery-\d+.*?(\d+)%.*", text)
    there = battery is not None and "present: false" not in battery[0]
    charge = plausible.charge(float(battery[1])) if battery is not None and there else None
    return Reading(
        on_mains=known(source[1] == "AC Power"),
        has_battery=known(there),
        battery_percent=unknown("pmset shows no charge") if charge is None else known(charge),
        cpu_c=_NO_CPU,
    )


def parse_battery(text: str) -> Reading:
    """Return the battery's temperature from ``ioreg -r -n AppleSmartBattery``."""
    hundredths = _figure(text, "Temperature")
    failed = _figure(text, "PermanentFailureStatus")
    celsius = None if hundredths is None else hundredths / 100
    return Reading(
        battery_c=known(celsius)
        if celsius is not None and plausible.believed(celsius)
        else unknown("ioreg shows no battery temperature"),
        battery_health=battery_health.worst(
            [] if failed is None else ["failure" if failed else "good"]
        ),
    )


def _figure(text: str, name: str) -> int | None:
    found = re.search(rf'^[\s|]*"{name}" = (\d+)\s*$', text, re.MULTILINE)
    return None if found is None else int(found[1])


def parse_idle(text: str) -> Reading:
    """Return the idle time from ``ioreg -c IOHIDSystem``, which counts nanoseconds."""
    found = [int(ns) for ns in re.findall(r'"HIDIdleTime" = (\d+)', text)]
    if not found:
        return Reading(idle_s=unknown("ioreg shows no HIDIdleTime"))
    return Reading(idle_s=known(min(found) / 1e9))
