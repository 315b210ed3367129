"""What psutil knows on every system: battery, load, and temperatures on some.

psutil has no ``sensors_temperatures`` on macOS and Windows (the attribute is
missing, psutil issues 1280, 2426), and ``sensors_battery`` gives None both for
"no battery" and for "not told".
"""

import sys
from typing import Any, Final

from hivelearn.device import plausible
from hivelearn.device.reading import Reading, Sensed, known, unknown

# There psutil reads the same files as linux.py: it takes a mouse for the machine's battery,
# and one that it may not see for none.
_ON_LINUX: Final = sys.platform in ("linux", "android")
_CPU_CHIPS: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz")


def read() -> Reading:
    """Return battery and load."""
    import psutil

    battery = None if _ON_LINUX else getattr(psutil, "sensors_battery", None)
    temperatures = getattr(psutil, "sensors_temperatures", None)
    cores = psutil.cpu_count() or 1
    power = Reading() if battery is None else battery_of(battery())
    return Reading(
        battery_percent=power.battery_percent,
        has_battery=power.has_battery,
        on_mains=power.on_mains,
        cpu_c=temperature_of(temperatures() if temperatures else None),
        load=known(psutil.getloadavg()[0] / cores),
    )


def battery_of(battery: Any) -> Reading:
    """Return the power part of a reading from what ``psutil.sensors_battery()`` gave."""
    if battery is None:
        why = "psutil lists no battery"
        return Reading(
            has_battery=known(value=False), battery_percent=unknown(why), on_mains=unknown(why)
        )
    plugged = battery.power_plugged
    charge = plausible.charge(battery.percent, moving=not plugged)
    return Reading(
        has_battery=known(value=True),
        battery_percent=unknown("psutil shows no charge") if charge is None else known(charge),
        on_mains=unknown("psutil cannot tell whether it is plugged in")
        if plugged is None
        else known(bool(plugged)),
    )


def temperature_of(chips: dict[str, list[Any]] | None) -> Sensed[float]:
    """Return the hottest CPU sensor from what ``psutil.sensors_temperatures()`` gave."""
    if chips is None:
        return unknown("psutil has no temperatures on this system")
    rows = [(chip, row.current) for chip in _CPU_CHIPS for row in chips.get(chip, ())]
    found = [
        float(celsius)
        for chip, celsius in rows
        if celsius is not None
        and plausible.believed(celsius)
        and not (chip == "acpitz" and plausible.is_acpi_constant(celsius))
    ]
    return known(max(found)) if found else unknown("psutil lists no CPU temperature")
