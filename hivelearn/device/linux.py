"""Linux: thermal zones and power supplies from sysfs, idle time from logind and terminals.

Everything is read below an injectable root, so that a test hands in the
recorded tree of a laptop or a phone. Units of sysfs: millidegrees for thermal
zones and hwmon, tenths of a degree for a power supply's ``temp``
(Documentation/ABI/testing/sysfs-class-power). What a value can mean is the work of
:mod:`hivelearn.device.plausible`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hivelearn.device import battery_health, power_supplies
from hivelearn.device.plausible import believed_of, is_acpi_constant
from hivelearn.device.reading import Reading, Sensed, known, unknown
from hivelearn.device.sysfs import number, paths, text, to_float

ROOT: Final = Path("/")

_CPU_WORDS: Final = ("cpu", "x86_pkg", "coretemp", "k10temp", "zenpower", "soc")
_GPU_WORDS: Final = ("gpu", "amdgpu", "nouveau", "radeon")
_BATTERY_WORDS: Final = ("battery", "bms")
_OTHER_WORDS: Final = ("iwlwifi", "nvme", "drivetemp", "wifi", "modem", "pmic", "chg", "usb")
_NO_SENSOR: Final = "int3400"  # a zone of policies, always at 20 °C


def read_tree(root: Path = ROOT) -> Reading:
    """Return temperatures, power and load of the machine whose root is ``root``."""
    supplies = power_supplies.read(root)
    batteries = [supply for supply in supplies or () if supply.is_battery]
    packs = power_supplies.celsius(batteries)
    felt = believed_of([*packs, *_zones(root)])
    in_packs = [c for name, c in felt if name in {pack for pack, _ in packs}]
    zones = [(name, c) for name, c in felt if name not in {pack for pack, _ in packs}]
    return Reading(
        cpu_c=_cpu_c(zones),
        gpu_c=_hottest(zones, _GPU_WORDS, "GPU"),
        battery_c=known(max(in_packs)) if in_packs else _hottest(zones, _BATTERY_WORDS, "battery"),
        battery_percent=power_supplies.percent(batteries),
        battery_health=battery_health.worst(battery.health for battery in batteries),
        has_battery=unknown("/sys/class/power_supply cannot be read")
        if supplies is None
        else known(bool(batteries)),
        on_mains=power_supplies.on_mains(supplies or ()),
        load=_load(root),
    )


def _zones(root: Path) -> Iterator[tuple[str, float]]:
    """Yield (lower-case sensor name, °C) of all that says anything."""
    places = [(p.parent / "type", p) for p in paths(root, "sys/class/thermal/thermal_zone*/temp")]
    places += [(p.parent / "name", p) for p in paths(root, "sys/class/hwmon/hwmon*/temp*_input")]
    for name_path, path in places:
        millidegrees, name = number(path), (text(name_path) or "unnamed").lower()
        if millidegrees is None or _NO_SENSOR in name:
            continue
        if text(path.with_name(path.name.replace("_input", "_fault"))) == "1":
            continue  # hwmon's own word for a broken sensor
        celsius = millidegrees / 1000
        if not (name.startswith("acpi") and is_acpi_constant(celsius)):
            yield name, celsius


def _cpu_c(zones: list[tuple[str, float]]) -> Sensed[float]:
    named = _hottest(zones, _CPU_WORDS, "CPU")
    if named.value is not None:
        return named
    # A board that names no CPU sensor still has a hottest spot ("acpitz", "skin").
    strangers = (*_GPU_WORDS, *_BATTERY_WORDS, *_OTHER_WORDS)
    rest = [c for name, c in zones if not any(word in name for word in strangers)]
    return known(max(rest)) if rest else named


def _hottest(zones: list[tuple[str, float]], words: tuple[str, ...], what: str) -> Sensed[float]:
    found = [c for name, c in zones if any(word in name for word in words)]
    return known(max(found)) if found else unknown(f"sysfs shows no {what} temperature")


def _load(root: Path) -> Sensed[float]:
    first = text(root / "proc/loadavg").split(" ", 1)[0]
    mean, cores = to_float(first), len(paths(root, "sys/devices/system/cpu/cpu[0-9]*"))
    if mean is None or cores == 0:
        return unknown("/proc/loadavg or the list of cores cannot be read")
    return known(mean / cores)
