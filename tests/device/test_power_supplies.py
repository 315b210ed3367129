"""What is listed beside wall and battery says nothing of either; an empty bay is no battery."""

from datetime import time

import pytest

from hivelearn.device import linux
from hivelearn.device.decide import decide
from hivelearn.device.limits import SAFETY
from hivelearn.device.permit import NOT_MEASURED

WALL = {"type": "Mains", "online": "1"}
NO_WALL = {"type": "Mains", "online": "0"}
PACK = {"type": "Battery", "present": "1", "status": "Full", "capacity": "100"}
EMPTY_BAY = {"type": "Battery", "present": "0", "status": "Unknown", "capacity": "0"}
USED = PACK | {"status": "Discharging", "capacity": "70"}
PORT_OFF = {"type": "USB", "online": "0", "scope": "System", "usb_type": "[C] PD PD_PPS"}
MOUSE = {"type": "Battery", "scope": "Device", "status": "Discharging", "capacity": "5"}
UPS = {"type": "UPS", "scope": "System", "capacity": "90"}

# supplies -> has battery, on mains, percent, whether a cool machine works
MACHINES = {
    "desktop, port of a graphics card off": ({"ucsi": PORT_OFF}, False, None, None, True),
    "desktop, wireless mouse": ({"hidpp_battery_0": MOUSE}, False, None, None, True),
    "desktop, mouse of a driver that says no scope": (
        {"hidpp_battery_3": MOUSE | {"scope": ""}},
        False,
        None,
        None,
        True,
    ),
    "desktop, pad that charges": (
        {"ps-controller-battery-a1": MOUSE | {"scope": "", "status": "Charging"}},
        False,
        None,
        None,
        True,
    ),
    "desktop on a UPS": ({"ups": UPS | {"status": "Full"}}, False, None, None, True),
    "desktop on a UPS, the wall is out": (
        {"ups": UPS | {"status": "Discharging"}, "AC": WALL},
        False,
        False,
        None,
        False,
    ),
    "laptop on battery, charger of a pen tablet on": (
        {"tablet_ac": WALL | {"scope": "Device"}, "BAT0": USED},
        True,
        False,
        70.0,
        False,
    ),
    "laptop on battery, its ports off": (
        {"ucsi1": PORT_OFF, "ucsi2": PORT_OFF, "BAT0": USED},
        True,
        False,
        70.0,
        False,
    ),
    "laptop charging through what is not listed": (
        {"ucsi": PORT_OFF, "BAT0": USED | {"status": "Charging"}},
        True,
        True,
        70.0,
        True,
    ),
    "laptop just unplugged": ({"AC": NO_WALL, "BAT0": PACK}, True, False, 100.0, False),
    "second bay empty": ({"AC": WALL, "BAT0": PACK, "BAT1": EMPTY_BAY}, True, True, 100.0, True),
    "second bay empty, nobody says so": (
        {"AC": WALL, "BAT0": PACK, "BAT1": EMPTY_BAY | {"present": ""}},
        True,
        True,
        100.0,
        True,
    ),
    "only bay empty": ({"AC": WALL, "BAT0": EMPTY_BAY}, False, True, None, True),
    "bay that says no battery": (
        {"AC": WALL, "BAT0": PACK | {"health": "No battery", "capacity": "0"}},
        False,
        True,
        None,
        True,
    ),
    "full at -1 %": ({"AC": WALL, "BAT0": PACK | {"capacity": "-1"}}, True, True, None, True),
    "full at 0 %": ({"AC": WALL, "BAT0": PACK | {"capacity": "0"}}, True, True, None, True),
    "full at 104 %": ({"AC": WALL, "BAT0": PACK | {"capacity": "104"}}, True, True, 100.0, True),
    "full at 2^31": ({"AC": WALL, "BAT0": PACK | {"capacity": str(2**31)}}, True, True, None, True),
    "charging at 0 %": (
        {"AC": WALL, "BAT0": PACK | {"capacity": "0", "status": "Charging"}},
        True,
        True,
        0.0,
        False,
    ),
    "two batteries": (
        {"AC": WALL, "BAT0": PACK, "BAT1": PACK | {"capacity": "60"}},
        True,
        True,
        60.0,
        True,
    ),
    "two batteries, one discharging": ({"BAT0": PACK, "BAT1": USED}, True, False, 70.0, False),
    "limited to 60 %": (
        {"AC": WALL, "BAT0": PACK | {"status": "Not charging", "capacity": "60"}},
        True,
        True,
        60.0,
        True,
    ),
    "a phone on a wireless charger": (
        {
            "wireless": {"type": "Wireless", "online": "1"},
            "usb": PORT_OFF,
            "battery": USED | {"status": "Charging"},
        },
        True,
        True,
        70.0,
        True,
    ),
    "a charger whose state nobody knows": (
        {"AC": {"type": "Mains", "online": "-1"}, "BAT0": PACK | {"status": "Unknown"}},
        True,
        None,
        100.0,
        False,
    ),
}


@pytest.fixture
def machine(tmp_path):
    """Lay out power supplies beside a CPU at 45 °C; return its reading."""

    def read(supplies):
        files = {
            f"power_supply/{name}/{key}": value
            for name, supply in supplies.items()
            for key, value in supply.items()
        }
        files |= {"hwmon/hwmon0/name": "coretemp", "hwmon/hwmon0/temp1_input": "45000"}
        for path, said in files.items():
            file = tmp_path / "sys/class" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(said + "\n")
        return linux.read_tree(tmp_path)

    return read


@pytest.mark.parametrize(
    ("supplies", "has_battery", "on_mains", "percent", "works"),
    MACHINES.values(),
    ids=MACHINES.keys(),
)
def test_wall_and_battery_are_told_from_what_lies_beside_them(
    machine, supplies, has_battery, on_mains, percent, works
):
    reading = machine(supplies)
    assert reading.has_battery.value is has_battery
    assert reading.on_mains.value is on_mains
    assert reading.battery_percent.value == percent
    assert decide(NOT_MEASURED, reading, SAFETY, time(12)).work is works


def test_a_kernel_without_power_supplies_has_no_battery(tmp_path):
    (tmp_path / "sys/class").mkdir(parents=True)
    assert linux.read_tree(tmp_path).has_battery.value is False


HEALTH = {
    "Good": True,
    "Unknown": True,
    "Cool": True,
    "Calibration required": True,
    "Overheat": False,
    "Hot": False,
    "Warm": False,
    "Cold": False,
    "Dead": False,
    "Over voltage": False,
    "Over current": False,
    "Unspecified failure": False,
    "Watchdog timer expire": False,
    "Safety timer expire": False,
}


@pytest.mark.parametrize(("said", "works"), HEALTH.items())
def test_what_a_battery_says_of_itself_is_obeyed(machine, said, works):
    reading = machine({"AC": WALL, "BAT0": PACK | {"temp": "300"}, "BAT1": PACK | {"health": said}})
    permit = decide(NOT_MEASURED, reading, SAFETY, time(12))
    assert permit.work is works
    assert works or said.lower() in permit.why


def test_the_health_of_a_mouse_is_its_own(machine):
    reading = machine({"AC": WALL, "BAT0": PACK, "hidpp_battery_0": MOUSE | {"health": "Dead"}})
    assert decide(NOT_MEASURED, reading, SAFETY, time(12)).work
