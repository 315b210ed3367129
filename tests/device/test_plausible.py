"""A value that no sensor measured is unknown, and unknown is never cool."""

import json
from datetime import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.device import linux, macos, nvidia, portable, termux, windows
from hivelearn.device.decide import decide
from hivelearn.device.limits import SAFETY
from hivelearn.device.permit import NOT_MEASURED, QUARTER
from hivelearn.device.plausible import believed, charge
from hivelearn.device.reading import Reading, combine, known

POWER = {
    "power_supply/AC/type": "Mains",
    "power_supply/AC/online": "1",
    "power_supply/BAT0/type": "Battery",
    "power_supply/BAT0/status": "Charging",
    "power_supply/BAT0/capacity": "80",
}


@pytest.fixture
def laptop(tmp_path):
    """A laptop on the mains with these files of /sys/class beside."""

    def read(files):
        for path, said in (POWER | files).items():
            file = tmp_path / "sys/class" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{said}\n")
        return linux.read_tree(tmp_path)

    return read


def zones(**named):
    files = {}
    for number, (name, millidegrees) in enumerate(named.items()):
        files[f"thermal/thermal_zone{number}/type"] = name
        files[f"thermal/thermal_zone{number}/temp"] = millidegrees
    return files


NO_TEMPERATURES = {
    "zero": zones(acpitz=0),
    "several zeros": zones(acpitz=0, cpu=0, soc_thermal=0),
    "127": zones(cpu=127_000),
    "128": zones(cpu=128_000),
    "-128": zones(cpu=-128_000),
    "-273": zones(cpu=-273_200),
    "-1": zones(cpu=-1),
    "2^31": zones(cpu=2**31 - 1),
    "a constant of the firmware": zones(acpitz=27_800),
    "another": zones(acpitz=29_800, acpitz2=16_800),
    "a zone of policies": {**zones(INT3400=20_000)},
    "millidegrees told as degrees": zones(cpu=45),
    "a sensor that says it is broken": {
        "hwmon/hwmon0/name": "coretemp",
        "hwmon/hwmon0/temp1_input": "30000",
        "hwmon/hwmon0/temp1_fault": "1",
    },
}


@pytest.mark.parametrize("files", NO_TEMPERATURES.values(), ids=NO_TEMPERATURES.keys())
def test_what_no_cpu_can_be_is_unknown_and_a_laptop_goes_slowly(laptop, files):
    reading = laptop(files)
    assert reading.cpu_c.value is None
    assert decide(NOT_MEASURED, reading, SAFETY, time(12)).duty == QUARTER


@pytest.mark.parametrize("dead", ["0", "-273200", "127000", "27800"])
def test_a_dead_zone_beside_a_living_one_does_not_count(laptop, dead):
    assert laptop(zones(acpitz=dead, x86_pkg_temp=44_000)).cpu_c == known(44.0)


def test_a_dead_zone_of_sysfs_leaves_the_word_to_psutil(laptop):
    chips = {"coretemp": [SimpleNamespace(current=91.0)], "acpitz": [SimpleNamespace(current=0.0)]}
    beside = Reading(cpu_c=portable.temperature_of(chips))
    assert combine([laptop(zones(acpitz=0)), beside]).cpu_c == known(91.0)


BATTERIES = {  # tenths of a degree as told, other zones -> °C
    "warm": (312, {}, 31.2),
    "zero": (0, {}, None),
    "zero beside a warm CPU": (0, zones(cpu=44_000), None),
    "zero in a cold store": (0, zones(cpu=4_000), 0.0),
    "-1": (-1, {}, None),
    "degrees told as tenths": (31, zones(cpu=44_000), None),
    "3 °C in a cold store": (31, zones(cpu=12_000), 3.1),
    "millidegrees": (31_000, {}, None),
    "2^31": (2**31 - 1, {}, None),
    "-2^31": (-(2**31), {}, None),
    "hot": (450, zones(cpu=44_000), 45.0),
}


@pytest.mark.parametrize(("tenths", "files", "celsius"), BATTERIES.values(), ids=BATTERIES.keys())
def test_a_cold_battery_is_believed_where_the_machine_is_cold(laptop, tenths, files, celsius):
    assert laptop({"power_supply/BAT0/temp": tenths, **files}).battery_c.value == celsius


def test_a_mouse_is_not_asked_of_psutil_for_the_battery_of_a_linux_machine(monkeypatch):
    psutil = pytest.importorskip("psutil")
    asked = []
    monkeypatch.setattr(portable, "_ON_LINUX", True)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: asked.append(1), raising=False)
    reading = portable.read()
    assert (asked, reading.has_battery.value, reading.on_mains.value) == ([], None, None)


PHONE = {
    "present": True,
    "health": "GOOD",
    "percentage": 80,
    "plugged": "PLUGGED_USB",
    "status": "CHARGING",
    "temperature": 30.0,
}
PHONES = {  # what differs -> field, value, whether it works
    "plain": ({}, "battery_c", 30.0, True),
    "0.0 °C is Android's word for none": ({"temperature": 0.0}, "battery_c", None, True),
    "a winter's day": ({"temperature": 3.5}, "battery_c", 3.5, True),
    "-2^31 tenths": ({"temperature": -214748364.8}, "battery_c", None, True),
    "2^31 tenths": ({"temperature": 214748364.7}, "battery_c", None, True),
    "percentage -1": ({"percentage": -1}, "battery_percent", None, True),
    "percentage 0 of a full one": (
        {"percentage": 0, "status": "FULL"},
        "battery_percent",
        None,
        True,
    ),
    "percentage 0": ({"percentage": 0}, "battery_percent", 0.0, False),
    "a television box": ({"present": False, "percentage": 0}, "has_battery", False, True),
    "plugged into nobody knows what": ({"plugged": "UNKNOWN"}, "on_mains", None, False),
    "overheat": ({"health": "OVERHEAT", "temperature": 0.0}, "battery_health", "overheat", False),
    "dead": ({"health": "DEAD"}, "battery_health", "dead", False),
    "cold": ({"health": "COLD"}, "battery_health", "cold", False),
    "over voltage": ({"health": "OVER_VOLTAGE"}, "battery_health", "over voltage", False),
    "failure": ({"health": "UNSPECIFIED_FAILURE"}, "battery_health", "unspecified failure", False),
    "health unknown": ({"health": "UNKNOWN"}, "battery_health", None, True),
    "health that is no word": ({"health": 7}, "battery_health", "7", True),
}


@pytest.mark.parametrize(("differs", "name", "value", "works"), PHONES.values(), ids=PHONES.keys())
def test_what_android_does_not_know_is_unknown(differs, name, value, works):

    reading = termux.parse(json.dumps(PHONE | differs))
    assert getattr(reading, name).value == value
    assert decide(NOT_MEASURED, reading, SAFETY, time(12)).work is works


def test_an_unknown_temperature_of_a_phone_is_no_full_duty():

    reading = termux.parse(json.dumps(PHONE | {"temperature": 0.0, "health": "UNKNOWN"}))
    assert decide(NOT_MEASURED, reading, SAFETY, time(12)).duty == QUARTER


@pytest.mark.parametrize("hundredths", [0, 15, 18446744073709551613, 27315, 65535])
def test_ioreg_figures_that_are_none_are_unknown(hundredths):
    assert macos.parse_battery(f'  "Temperature" = {hundredths}\n').battery_c.value is None


def test_a_mac_whose_battery_has_failed_or_is_out_is_told():
    failed = macos.parse_battery('  "PermanentFailureStatus" = 1\n  "Temperature" = 3094\n')
    assert (failed.battery_health.value, failed.battery_c.value) == ("failure", 30.94)
    said = (
        "Now drawing from 'AC Power'\n"
        " -InternalBattery-0 (id=1)\t0%; AC attached; not charging present: false\n"
    )
    out = macos.parse_pmset(said)
    assert (out.has_battery.value, out.battery_percent.value) == (False, None)


@pytest.mark.parametrize(("tenths", "celsius"), [("2732", None), ("3010", None), ("3182", 45.05)])
def test_a_zone_of_windows_that_measures_nothing_is_unknown(tenths, celsius):
    found = windows.parse_thermal_zone(f"{tenths}\n").cpu_c.value
    assert found == (None if celsius is None else pytest.approx(celsius))


def test_a_battery_of_psutil_at_255_or_0_on_the_mains_is_unknown():
    for percent in (255, 0, -1):
        told = SimpleNamespace(percent=percent, power_plugged=True)
        assert portable.battery_of(told).battery_percent.value is None


@pytest.mark.parametrize("celsius", [0, 255, -1000])
def test_a_graphics_card_at_no_temperature_is_unknown(celsius):
    nvml = SimpleNamespace(
        NVML_TEMPERATURE_GPU=0,
        NVMLError=OSError,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda n: n,
        nvmlDeviceGetTemperature=lambda *_: celsius,
    )
    assert nvidia.hottest(nvml).value is None


@given(st.floats(allow_nan=True, allow_infinity=True), st.lists(st.floats(-50, 150), max_size=4))
def test_what_is_believed_is_a_temperature_that_a_machine_can_have(celsius, others):
    if believed(celsius, others):
        assert -40 < celsius < 120
        assert celsius >= 10 or any(0 != other < 25 for other in others)


@given(st.none() | st.floats(allow_nan=True, allow_infinity=True), st.booleans())
def test_a_charge_is_a_percentage_or_nothing(percent, moving):
    found = charge(percent, moving=moving)
    assert found is None or 0 <= found <= 100
