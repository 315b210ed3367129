"""macOS: what ``pmset`` and ``ioreg`` print, without administrator rights.

No CPU temperature is open to a normal user there; the battery's is. ioreg's
``"Temperature"`` counts hundredths of a degree Celsius (3094 is 30.94 °C).
"""

import re
from typing import Final

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
    percent = re.search(r"-InternalBattery-\d+.*?(\d+)%", text)
    return Reading(
        on_mains=known(source[1] == "AC Power"),
        has_battery=known(percent is not None),
        battery_percent=known(float(percent[1])) if percent else unknown("pmset lists no battery"),
        cpu_c=_NO_CPU,
    )


def parse_battery(text: str) -> Reading:
    """Return the battery's temperature from ``ioreg -r -n AppleSmartBattery``."""
    found = re.search(r'^[\s|]*"Temperature" = (\d+)\s*$', text, re.MULTILINE)
    if found is None:
        return Reading(battery_c=unknown("ioreg shows no battery temperature"))
    return Reading(battery_c=known(int(found[1]) / 100))


def parse_idle(text: str) -> Reading:
    """Return the idle time from ``ioreg -c IOHIDSystem``, which counts nanoseconds."""
    found = [int(ns) for ns in re.findall(r'"HIDIdleTime" = (\d+)', text)]
    if not found:
        return Reading(idle_s=unknown("ioreg shows no HIDIdleTime"))
    return Reading(idle_s=known(min(found) / 1e9))
