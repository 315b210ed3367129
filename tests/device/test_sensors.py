"""Recorded macOS, Windows and phones; sources that fail; one reading from many sources."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from hivelearn.device import (
    commands,
    linux_idle,
    macos,
    nvidia,
    portable,
    sensors,
    termux,
    windows,
)
from hivelearn.device.reading import Reading, Sensed, combine, known, nothing, unknown
from hivelearn.errors import UsageError

RECORDINGS = Path(__file__).parent / "recordings"


def text(name):
    return (RECORDINGS / name).read_text(encoding="utf-8")


def values(reading, *names):
    return tuple(getattr(reading, name).value for name in names)


PMSET = {  # on mains, has battery, percent
    "pmset-laptop.txt": (True, True, 87.0),
    "pmset-unplugged.txt": (False, True, 64.0),
    "pmset-desktop.txt": (True, False, None),
    "ioreg-idle.txt": (None, None, None),  # not what was asked for
}


@pytest.mark.parametrize("name", PMSET)
def test_pmset_is_read(name):
    reading = macos.parse_pmset(text(name))
    assert values(reading, "on_mains", "has_battery", "battery_percent") == PMSET[name]
    assert "macOS" in reading.cpu_c.why


def test_ioreg_tells_the_battery_temperature_and_the_idle_time():
    # The recording holds "VirtualTemperature" and a nested "Temperature" to stumble over.
    assert macos.parse_battery(text("ioreg-battery.txt")).battery_c == known(30.94)
    assert macos.parse_idle(text("ioreg-idle.txt")).idle_s == known(612.345678901)
    assert macos.parse_battery("").battery_c.why
    assert macos.parse_idle("").idle_s.why


def test_a_thermal_zone_of_windows_counts_tenths_of_kelvin():
    hottest = windows.parse_thermal_zone(text("thermal-zone-powershell.txt")).cpu_c.value
    assert hottest == pytest.approx(48.05)
    wmic = windows.parse_thermal_zone(text("thermal-zone-wmic.txt")).cpu_c.value
    assert wmic == pytest.approx(40.05)
    assert windows.parse_thermal_zone("Get-CimInstance : Access denied").cpu_c.value is None


def test_idle_ticks_of_windows_survive_their_wrap():
    assert windows.idle_between(1_000, 61_000) == known(60.0)
    assert windows.idle_between(2**32 - 1_000, 4_000) == known(5.0)


@pytest.mark.skipif(sys.platform == "win32", reason="there it is known")
def test_elsewhere_the_ticks_of_windows_are_unknown():
    assert windows.idle().idle_s.why == "this is not Windows"


@pytest.mark.parametrize(("answered", "idle_s"), [(1, 60.0), (0, None)])
def test_windows_is_asked_for_its_last_input(answered, idle_s):
    def last_input(info):
        info._obj.dwTime = 2**32 - 20_000  # byref keeps what it points to
        return answered

    user32 = SimpleNamespace(GetLastInputInfo=last_input)
    kernel32 = SimpleNamespace(GetTickCount=lambda: 40_000)
    windll = SimpleNamespace(user32=user32, kernel32=kernel32)
    assert windows.idle(windll).idle_s.value == idle_s


def test_a_phone_under_termux_is_read():
    charging = termux.parse(text("termux-charging.json"))
    assert values(charging, "on_mains", "has_battery", "battery_percent") == (True, True, 91.0)
    assert charging.battery_c.value == pytest.approx(39.4)
    assert "Android" in charging.idle_s.why
    assert termux.parse(text("termux-unplugged.json")).on_mains == known(value=False)


@pytest.mark.parametrize("said", ["", "[1]", "null", "Error: Termux:API is not installed"])
def test_an_answer_of_termux_that_is_no_object_is_unknown(said):
    assert set(values(termux.parse(said), *Reading.__slots__)) == {None}


def test_a_phone_that_tells_little_is_unknown_in_the_rest():
    reading = termux.parse('{"temperature": null, "percentage": true, "plugged": 1}')
    assert values(reading, "battery_c", "battery_percent", "on_mains") == (None, None, None)
    assert reading.has_battery == known(value=True)


class Battery(NamedTuple):  # as psutil._common.sbattery
    percent: float
    secsleft: int
    power_plugged: bool | None


class Chip(NamedTuple):  # as psutil._common.shwtemp
    label: str
    current: float
    high: float
    critical: float


def test_psutil_tells_the_battery():
    fields = ("has_battery", "battery_percent", "on_mains")
    assert values(portable.battery_of(Battery(55, 7200, False)), *fields) == (True, 55.0, False)
    assert values(portable.battery_of(Battery(55, 7200, None)), *fields) == (True, 55.0, None)
    assert values(portable.battery_of(None), *fields) == (False, None, None)


def test_psutil_tells_the_temperature_where_it_can():
    chips = {"coretemp": [Chip("Core 0", 50.0, 100, 105), Chip("Core 1", 58.0, 100, 105)]}
    assert portable.temperature_of(chips) == known(58.0)
    assert portable.temperature_of({"nvme": [Chip("", 70.0, 80, 90)]}).value is None
    assert portable.temperature_of(None).value is None


class FakeNvml:
    """The five names of pynvml that we use, on a machine with the given GPUs."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, *temperatures):
        self.temperatures = temperatures

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.temperatures)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetTemperature(self, handle, kind):  # noqa: N802
        if kind != self.NVML_TEMPERATURE_GPU or self.temperatures[handle] is None:
            raise self.NVMLError("GPU is lost")
        return self.temperatures[handle]


def test_the_hottest_gpu_counts_and_a_lost_one_blinds():
    assert nvidia.hottest(FakeNvml(41, 77)) == known(77.0)
    assert nvidia.hottest(FakeNvml(41, None)).why == "the NVIDIA driver says: GPU is lost"
    assert nvidia.hottest(FakeNvml()).value is None


@pytest.fixture
def _driver_opened_anew():
    nvidia.open_driver.cache_clear()
    yield
    nvidia.open_driver.cache_clear()


@pytest.mark.usefixtures("_driver_opened_anew")
def test_the_nvidia_driver_is_opened_once_if_it_is_there(monkeypatch):
    fake = FakeNvml(66)
    fake.nvmlInit = lambda opened=[]: opened.append(1) or len(opened) == 1 or 1 / 0
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert nvidia.read().gpu_c == nvidia.read().gpu_c == known(66.0)


@pytest.mark.usefixtures("_driver_opened_anew")
def test_no_nvidia_package_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvidia.read().gpu_c.why == "nvidia-ml-py is not installed"


def test_a_command_is_its_text_or_a_reason():
    python = sys.executable
    assert commands.output_of((python, "-c", "print(7)")).value.strip() == "7"
    failed = commands.output_of((python, "-c", "import sys; sys.exit('no bus')"))
    assert failed.why.endswith("failed: no bus")
    assert "status 3" in commands.output_of((python, "-c", "raise SystemExit(3)")).why
    slow = commands.output_of((python, "-c", "import time; time.sleep(60)"), timeout_s=0.2)
    assert "no answer within 0.2 s" in slow.why
    assert "not installed" in commands.output_of(("no-such-program-of-ours",)).why


def test_a_program_that_may_not_run_is_a_reason(tmp_path):
    assert "cannot run" in commands.output_of((str(tmp_path),)).why  # a folder


def test_this_machine_is_read_without_an_error():
    reading = sensors.read()
    assert set(reading.described()) == set(Reading.__slots__)


def test_a_reading_is_described_as_people_say_it():
    told = Reading(
        cpu_c=known(61.25),
        battery_percent=known(83.0),
        idle_s=known(512438.6499378681),
        load=known(0.123456),
        on_mains=known(True),
        has_battery=known(False),
    ).described()
    assert told["cpu_c"] == "61 °C"
    assert told["battery_percent"] == "83 %"
    assert told["idle_s"] == "5 days, 22:20:39"
    assert told["load"] == "0.12"
    assert (told["on_mains"], told["has_battery"]) == ("yes", "no")
    assert told["gpu_c"] == "unknown: no source was asked"


def test_a_source_that_raises_is_unknown_and_the_others_still_count():
    def broken():
        raise ZeroDivisionError("driver")

    sources = (("broken", broken), ("good", lambda: Reading(cpu_c=known(50.0))))
    reading = sensors.read(sources)
    assert reading.cpu_c == known(50.0)
    assert reading.gpu_c.why == "broken failed: ZeroDivisionError: driver"


PLATFORMS = {
    "linux": ("linux", {}, ["sysfs", "idle", "nvidia", "psutil"]),
    "termux": (
        "linux",
        {"TERMUX_VERSION": "0.118"},
        ["termux-battery-status", "sysfs", "idle", "nvidia", "psutil"],
    ),
    "macos": ("darwin", {}, ["pmset", "ioreg battery", "ioreg idle", "nvidia", "psutil"]),
    "windows": ("win32", {}, ["thermal zone", "last input", "nvidia", "psutil"]),
    "freebsd": ("freebsd14", {}, ["nvidia", "psutil"]),
}


@pytest.mark.parametrize(("platform", "environ", "names"), PLATFORMS.values(), ids=PLATFORMS.keys())
def test_each_platform_has_its_sources_and_none_of_them_raises_elsewhere(platform, environ, names):
    sources = sensors.sources_for(platform, environ)
    assert [name for name, _ in sources] == names
    for _, source in sources:
        assert isinstance(source(), Reading)


def test_a_heavy_source_is_asked_seldom():
    clock, asked = [0.0], []
    source = sensors.at_most_every(60.0, lambda: asked.append(1) or Reading(), lambda: clock[0])
    for clock[0] in (0.0, 30.0, 59.9, 60.0, 119.0, 121.0):
        source()
    assert len(asked) == 3


def test_logind_answers_lead_to_an_idle_time_or_a_reason():
    said = {
        "list": known(text("loginctl-list.txt")),
        "show": known(text("loginctl-desktop-busy.txt")),
    }

    def read():
        return linux_idle.read(lambda argv: said[argv[1].split("-")[0]])

    assert read().idle_s == known(0.0)
    said["show"] = unknown("no bus")
    assert read().idle_s.why == "no bus"
    said["list"] = known("")
    assert "nobody is logged in" in read().idle_s.why


def test_the_first_known_value_wins_and_reasons_add_up():
    first = Reading(cpu_c=unknown("no zone"), gpu_c=known(40.0))
    second = Reading(cpu_c=unknown("no chip"), gpu_c=known(90.0))
    merged = combine([nothing("no zone"), first, second])
    assert merged.cpu_c.why == "no zone; no chip"
    assert merged.gpu_c == known(40.0)
    assert combine([]).load.why == "no source was asked"


@pytest.mark.parametrize("bad", [lambda: Sensed(None), lambda: Sensed(1.0, "why")])
def test_unknown_without_a_reason_cannot_exist(bad):
    with pytest.raises(UsageError):
        bad()
