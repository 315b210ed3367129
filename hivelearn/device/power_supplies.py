"""Linux: what feeds the machine, from /sys/class/power_supply.

The folder lists far more than wall and battery: mice and headsets, the charger of a pen
tablet, USB-C ports of a graphics card, empty bays, uninterruptible supplies. What is no
part of the machine says nothing about it, and a port that is off says that the machine
runs on battery only if there is a battery.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hivelearn.device import battery_health, plausible
from hivelearn.device.reading import Sensed, known, unknown
from hivelearn.device.sysfs import number, text, to_float

# Drivers of mice, keyboards, pens and pads that do not say scope=Device.
_PERIPHERALS: Final = (
    "hidpp_battery",
    "hid-",
    "wacom_battery",
    "wiimote_battery",
    "sony_controller_battery",
    "ps-controller-battery",
    "nintendo_switch_controller",
    "steam-controller",
)
_ONLINE: Final = {"1", "2"}  # 2: a programmable USB charger
_MOVING: Final = {"charging", "discharging"}


@dataclass(frozen=True, slots=True)
class Supply:
    """One entry of the folder, as its driver tells it; what it does not tell is empty."""

    name: str
    type: str = ""
    scope: str = ""
    online: str = ""
    status: str = ""
    present: str = ""
    capacity: float | None = None
    tenths_c: float | None = None
    health: str = ""

    @property
    def is_machines(self) -> bool:
        """Whether it is a part of this machine and not of something beside it."""
        return self.scope != "device" and not self.name.lower().startswith(_PERIPHERALS)

    @property
    def is_battery(self) -> bool:
        """Whether it is a battery of this machine, in its bay."""
        there = self.present != "0" and self.health != battery_health.NO_BATTERY
        return self.type == "battery" and self.is_machines and there

    @property
    def is_charger(self) -> bool:
        """Whether it could feed this machine, and says whether it does."""
        return (
            self.type not in ("battery", "ups", "") and self.is_machines and self.online.isdigit()
        )


def read(root: Path) -> list[Supply] | None:
    """Return every power supply; none where the kernel knows none; None where one may not look."""
    folder = root / "sys/class/power_supply"
    try:
        return [_supply(path) for path in sorted(folder.iterdir())]
    except FileNotFoundError:
        return [] if (root / "sys/class").is_dir() else None
    except OSError:
        return None


def _supply(path: Path) -> Supply:
    return Supply(
        name=path.name,
        type=text(path / "type").lower(),
        scope=text(path / "scope").lower(),
        online=text(path / "online"),
        status=text(path / "status").lower(),
        present=text(path / "present"),
        capacity=number(path / "capacity"),
        tenths_c=to_float(text(path / "temp")),
        health=battery_health.word(text(path / "health")),
    )


def percent(batteries: Sequence[Supply]) -> Sensed[float]:
    """Return the charge of the emptiest battery that tells one."""
    told = (plausible.charge(b.capacity, moving=b.status in _MOVING) for b in batteries)
    found = [each for each in told if each is not None]
    return known(min(found)) if found else unknown("sysfs shows no battery charge")


def celsius(batteries: Sequence[Supply]) -> list[tuple[str, float]]:
    """Return name and °C of each battery that tells a temperature, as it is told."""
    return [(f"battery {b.name}", b.tenths_c / 10) for b in batteries if b.tenths_c is not None]


def on_mains(supplies: Sequence[Supply]) -> Sensed[bool]:
    """Return whether the wall feeds the machine; unknown where nothing says so."""
    batteries = [supply for supply in supplies if supply.is_battery]
    if any(s.type == "ups" and s.status == "discharging" for s in supplies if s.is_machines):
        return known(value=False)  # the wall feeds nobody now
    chargers = [supply for supply in supplies if supply.is_charger]
    if any(charger.online in _ONLINE for charger in chargers):
        return known(value=True)
    states = {battery.status for battery in batteries}
    if "discharging" in states:
        return known(value=False)
    if "charging" in states:  # through something that is not listed
        return known(value=True)
    if chargers and batteries:
        return known(value=False)
    if states & {"full", "not charging"}:
        return known(value=True)
    return unknown("sysfs shows no charger that is on")
