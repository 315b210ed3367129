"""One reading of this machine, whatever it is. Never raises.

A source is one function without arguments to a (partial) ``Reading``; to add a
sensor write such a function and give it a row in :func:`sources_for`. Earlier
sources win where two know the same quantity.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Final

from hivelearn.device import linux, linux_idle, macos, nvidia, portable, termux, windows
from hivelearn.device.commands import output_of
from hivelearn.device.reading import Reading, Sensed, combine, nothing, unknown

Source = Callable[[], Reading]

SLOW_S: Final = 60.0  # how long the answer of a source that starts a heavy process is good for


def read(sources: Iterable[tuple[str, Source]] | None = None) -> Reading:
    """Return what the sources feel now, by default those of this machine.

    A source that raises becomes unknown with its error as the reason: a sensor
    is never worth a night of learning.
    """
    chosen = _own_sources() if sources is None else sources
    return combine(_guarded(name, source) for name, source in chosen)


def _guarded(name: str, source: Source) -> Reading:
    try:
        return source()
    except Exception as error:  # noqa: BLE001 - drivers raise whatever they like
        return nothing(f"{name} failed: {type(error).__name__}: {error}")


@cache
def _own_sources() -> tuple[tuple[str, Source], ...]:
    return sources_for(sys.platform, os.environ)


def sources_for(platform: str, environ: Mapping[str, str]) -> tuple[tuple[str, Source], ...]:
    """Return the sources of a system, those that know best first.

    Args:
        platform: as in ``sys.platform``.
        environ: environment variables; Termux is known by its own.
    """
    rows: list[tuple[str, Source]] = []
    if "TERMUX_VERSION" in environ or platform == "android":
        rows.append(("termux-battery-status", _command(termux.COMMAND, termux.parse)))
    if platform in ("linux", "android"):
        rows += [("sysfs", linux.read_tree), ("idle", _linux_idle)]
    elif platform == "darwin":
        rows += [
            ("pmset", _command(macos.PMSET, macos.parse_pmset)),
            ("ioreg battery", _command(macos.IOREG_BATTERY, macos.parse_battery)),
            ("ioreg idle", _command(macos.IOREG_IDLE, macos.parse_idle)),
        ]
    elif platform == "win32":
        zone = _command(windows.THERMAL_ZONE, windows.parse_thermal_zone)
        rows += [("thermal zone", seldom(zone, SLOW_S)), ("last input", windows.idle)]
    return (*rows, ("nvidia", nvidia.read), ("psutil", portable.read))


def seldom(
    source: Source, every_s: float, monotonic: Callable[[], float] = time.monotonic
) -> Source:
    """Return ``source``, asked again only when its last answer is ``every_s`` old."""
    kept: list[tuple[float, Reading]] = []

    def cached() -> Reading:
        now_s = monotonic()
        if not kept or now_s - kept[0][0] >= every_s:
            kept[:] = [(now_s, source())]
        return kept[0][1]

    return cached


def _command(argv: tuple[str, ...], parse: Callable[[str], Reading]) -> Source:
    def source() -> Reading:
        said = output_of(argv)
        return nothing(said.why) if said.value is None else parse(said.value)

    return source


def _linux_idle() -> Reading:
    terminals = linux_idle.terminals_idle(linux.ROOT, time.time())
    listed = output_of(linux_idle.LIST_SESSIONS)
    if listed.value is None:
        desktop = linux_idle.has_desktop(linux.ROOT, os.environ)
        return Reading(idle_s=linux_idle.idle_of_terminals(terminals, desktop=desktop))
    return Reading(idle_s=_sessions_idle(listed.value, terminals))


def _sessions_idle(listed: str, terminals: Mapping[str, float]) -> Sensed[float]:
    command = linux_idle.show_sessions(listed)
    if command is None:
        return unknown("nobody is logged in, as far as logind knows")
    shown = output_of(command)
    if shown.value is None:
        return unknown(shown.why)
    sessions = linux_idle.parse_sessions(shown.value)
    return linux_idle.idle_of_sessions(sessions, terminals, time.monotonic())
