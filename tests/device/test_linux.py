"""Recorded Linux machines, each read as what it is; whatever is missing says why."""

import os
from pathlib import Path

import pytest

from hivelearn.device import linux, linux_idle
from hivelearn.device.reading import known

RECORDINGS = Path(__file__).parent / "recordings"


def text(name):
    return (RECORDINGS / name).read_text(encoding="utf-8")


def values(reading, *names):
    return tuple(getattr(reading, name).value for name in names)


@pytest.fixture
def tree(tmp_path):
    """Lay out a recorded tree: one line per file, "path = content"."""

    def grow(name):
        for line in text(f"{name}.tree").splitlines():
            path, content = line.split(" = ", 1)
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content + "\n")
        return tmp_path

    return grow


MACHINES = {  # cpu, gpu, battery °C, battery %, has battery, on mains, load
    "laptop": (63.0, 48.0, 31.2, 83.0, True, True, 0.4),
    "laptop-unplugged": (45.0, None, None, 57.0, True, False, None),
    "phone": (44.3, 39.9, 33.1, 100.0, True, True, None),
    "desktop": (88.125, None, None, None, False, None, 0.0),
    "vm": (None, None, None, None, False, None, 0.25),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_a_recorded_linux_machine_is_read_as_what_it_is(tree, machine):
    # laptop.tree holds a mouse at 5 %, a Wi-Fi card at 94 °C and a dead ACPI zone at 27.8 °C.
    reading = linux.read_tree(tree(machine))
    fields = ("cpu_c", "gpu_c", "battery_c", "battery_percent", "has_battery", "on_mains", "load")
    assert values(reading, *fields) == MACHINES[machine]


def test_a_machine_without_sysfs_is_unknown_and_says_so(tmp_path):
    reading = linux.read_tree(tmp_path)
    assert all(text.startswith("unknown: ") for text in reading.described().values())


def test_a_value_that_cannot_be_is_no_temperature(tmp_path):
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("cpu-thermal")
    for nonsense in ("-273200", "255000", "", "warm", "nan", "inf"):
        (zone / "temp").write_text(nonsense)
        assert linux.read_tree(tmp_path).cpu_c.value is None


def test_a_zone_without_a_name_still_counts(tmp_path):
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("91000")
    assert linux.read_tree(tmp_path).cpu_c.value == 91.0


SUPPLIES = {
    "charging from nowhere listed": ([("Battery", "", "Charging")], True),
    "discharging beside a charger that is off": ([("Mains", "0", ""), ("Battery", "", "")], False),
    "programmable USB charger": ([("USB", "2", ""), ("Battery", "", "Discharging")], True),
    "discharging alone": ([("Battery", "", "Discharging")], False),
    "says nothing": ([("Battery", "", "Unknown")], None),
}


@pytest.mark.parametrize(("supplies", "on_mains"), SUPPLIES.values(), ids=SUPPLIES.keys())
def test_the_charger_is_found_or_unknown(tmp_path, supplies, on_mains):
    for number, attributes in enumerate(supplies):
        folder = tmp_path / f"sys/class/power_supply/S{number}"
        folder.mkdir(parents=True)
        for name, content in zip(("type", "online", "status"), attributes, strict=True):
            if content:
                (folder / name).write_text(content)
    assert linux.read_tree(tmp_path).on_mains.value is on_mains


class Forbidden(type(Path())):
    """A folder as Android shows it: it is there and may not be listed."""

    def glob(self, *_, **__):
        raise PermissionError("SELinux says no")

    iterdir = glob


def test_a_folder_that_may_not_be_listed_is_no_error(tmp_path):
    root = Forbidden(tmp_path)
    assert linux.read_tree(root).has_battery.why == "/sys/class/power_supply cannot be read"
    assert linux_idle.terminals_idle(root, 0.0) == {}


def test_logind_is_asked_about_every_session():
    command = linux_idle.show_sessions(text("loginctl-list.txt"))
    assert command[:5] == ("loginctl", "show-session", "2", "5", "c1")
    assert linux_idle.show_sessions("\n") is None


SESSIONS = {
    "desktop idle, terminal used 700 s ago": ("idle", {"pts/1": 700.0}, 700.0),
    "desktop idle for 1000 s, terminal longer": ("idle", {"pts/1": 5000.0}, 1000.0),
    "desktop idle, terminal gone": ("idle", {}, 1000.0),
    "desktop in use": ("busy", {"pts/9": 9000.0}, 0.0),
}


@pytest.mark.parametrize(("name", "terminals", "idle_s"), SESSIONS.values(), ids=SESSIONS.keys())
def test_the_least_idle_session_counts(name, terminals, idle_s):
    sessions = linux_idle.parse_sessions(text(f"loginctl-desktop-{name}.txt"))
    assert linux_idle.idle_of_sessions(sessions, terminals, 5000.0) == known(idle_s)


def test_no_session_is_unknown():
    assert linux_idle.idle_of_sessions([], {}, 1.0).value is None


def test_terminals_tell_by_their_last_key(tmp_path):
    for name, at_s in (("pts/0", 940.0), ("tty1", 400.0), ("pts/ptmx", 999.0)):
        path = tmp_path / "dev" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (at_s, at_s))
    found = linux_idle.terminals_idle(tmp_path, 1000.0)
    assert found == {"pts/0": 60.0, "tty1": 600.0}
    assert linux_idle.idle_of_terminals(found, desktop=False) == known(60.0)


def test_terminals_say_nothing_of_a_desktop(tmp_path):
    assert linux_idle.idle_of_terminals({"pts/0": 9e9}, desktop=True).value is None
    assert linux_idle.idle_of_terminals({}, desktop=False).value is None
    assert linux_idle.has_desktop(tmp_path, {"WAYLAND_DISPLAY": "wayland-0"})
    assert not linux_idle.has_desktop(tmp_path, {"DISPLAY": ""})
    (tmp_path / "tmp/.X11-unix").mkdir(parents=True)
    (tmp_path / "tmp/.X11-unix/X0").touch()
    assert linux_idle.has_desktop(tmp_path, {})
