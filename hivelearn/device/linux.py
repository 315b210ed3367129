"""Linux: thermal zones and power supplies from sysfs, idle time from logind and terminals.

Everything is read below an injectable root, so that a test hands in the
recorded tree of a laptop or a phone. Units of sysfs: millidegrees for thermal
zones and hwmon, tenths of a degree for a power supply's ``temp``
(Documentation/ABI/testing/sysfs-class-power).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from hivelearn.device.reading import Reading, Sensed, known, unknown

ROOT: Final = Path("/")
PLAUSIBLE_C: Final = (-30.0, 130.0)  # beyond: a broken sensor, such as -273.2 or 255

_CPU_WORDS: Final = ("cpu", "x86_pkg", "coretemp", "k10temp", "zenpower", "soc")
_GPU_WORDS: Final = ("gpu", "amdgpu", "nouveau", "radeon")
_BATTERY_WORDS: Final = ("battery", "bms")
_OTHER_WORDS: Final = ("iwlwifi", "nvme", "drivetemp", "wifi", "modem", "pmic", "chg", "usb")


def read_tree(root: Path = ROOT) -> Reading:
    """Return temperatures, power and load of the machine whose root is ``root``."""
    zones = list(_temperatures(root))
    supplies = _supplies(root)
    batteries = [
        s for s in supplies or () if s.get("type") == "Battery" and s.get("scope") != "Device"
    ]
    return Reading(
        cpu_c=_cpu_c(zones),
        gpu_c=_hottest(zones, _GPU_WORDS, "GPU"),
        battery_c=_battery_c(batteries, zones),
        battery_percent=_battery_percent(batteries),
        has_battery=unknown("/sys/class/power_supply cannot be read")
        if supplies is None
        else known(bool(batteries)),
        on_mains=_on_mains(supplies or (), batteries),
        load=_load(root),
    )


def _temperatures(root: Path) -> Iterator[tuple[str, float]]:
    """Yield (lower-case sensor name, °C), implausible values left out."""
    places = [
        (path.parent / "type", path) for path in _glob(root, "sys/class/thermal/thermal_zone*/temp")
    ]
    places += [
        (path.parent / "name", path) for path in _glob(root, "sys/class/hwmon/hwmon*/temp*_input")
    ]
    for name_path, path in places:
        millidegrees = _number(path)
        if millidegrees is not None and PLAUSIBLE_C[0] < millidegrees / 1000 < PLAUSIBLE_C[1]:
            yield (_text(name_path) or "unnamed").lower(), millidegrees / 1000


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


def _supplies(root: Path) -> list[dict[str, str]] | None:
    """Return the attributes of every power supply, or None where one may not look."""
    folder = root / "sys/class/power_supply"
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return None
    names = ("type", "scope", "online", "status", "capacity", "temp")
    return [{name: _text(path / name) or "" for name in names} for path in paths]


def _battery_c(batteries: list[dict[str, str]], zones: list[tuple[str, float]]) -> Sensed[float]:
    tenths = [_float(b["temp"]) for b in batteries]
    found = [t / 10 for t in tenths if t is not None and PLAUSIBLE_C[0] < t / 10 < PLAUSIBLE_C[1]]
    if found:
        return known(max(found))
    return _hottest(zones, _BATTERY_WORDS, "battery")


def _battery_percent(batteries: list[dict[str, str]]) -> Sensed[float]:
    found = [p for p in (_float(b["capacity"]) for b in batteries) if p is not None]
    return known(min(found)) if found else unknown("sysfs shows no battery charge")


def _on_mains(supplies: Iterable[dict[str, str]], batteries: list[dict[str, str]]) -> Sensed[bool]:
    chargers = [s["online"] for s in supplies if s["type"] not in ("Battery", "") and s["online"]]
    if any(online != "0" for online in chargers):  # 1 on mains, 2 on a programmable USB charger
        return known(value=True)
    states = {b["status"] for b in batteries}
    if "Discharging" in states or chargers:
        return known(value=False)
    if states & {"Charging", "Full", "Not charging"}:
        return known(value=True)
    return unknown("sysfs shows no charger")


def _load(root: Path) -> Sensed[float]:
    first = (_text(root / "proc/loadavg") or "").split(" ", 1)[0]
    mean, cores = _float(first), len(_glob(root, "sys/devices/system/cpu/cpu[0-9]*"))
    if mean is None or cores == 0:
        return unknown("/proc/loadavg or the list of cores cannot be read")
    return known(mean / cores)


def _glob(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted(root.glob(pattern))
    except OSError:  # Android forbids to list many of these folders
        return []


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # absent, forbidden, or a driver that says EIO or ENODATA
        return None


def _number(path: Path) -> float | None:
    return _float(_text(path) or "")


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
