"""One reading of this machine, whatever it is. Never raises.

A sensor is one function without arguments to a (partial) ``Reading``; to add one
write such a function and give it a row in :func:`sources_for`. Earlier
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
from hivelearn.device.reading import Reading, combine, nothing

Sensor = Callable[[], Reading]

SLOW_S: Final = 60.0  # how long the answer of a source that starts a heavy process is good for


def read(sources: Iterable[tuple[str, Sensor]] | None = None) -> Reading:
    """Return what the sources feel now, by default those of this machine.

    A source that raises becomes unknown with its error as the reason: a sensor
    is never worth a night of learning.
    """
    chosen = _own_sources() if sources is None else sources
    return combine(_guarded(name, source) for name, source in chosen)


def _guarded(name: str, source: Sensor) -> Reading:
    try:
        return source()
    except Exception as error:  # noqa: BLE001 - drivers raise whatever they like
        return nothing(f"{name} failed: {type(error).__name__}: {error}")


@cache
def _own_sources() -> tuple[tuple[str, Sensor], ...]:
    return sources_for(sys.platform, os.environ)


def sources_for(platform: str, environ: Mapping[str, str]) -> tuple[tuple[str, Sensor], ...]:
    """Return the sources of a system, those that know best first.

    Args:
        platform: as in ``sys.platform``.
        environ: environment variables; Termux is known by its own.
    """
    rows: list[tuple[str, Sensor]] = []
    if "TERMUX_VERSION" in environ or platform == "android":
        rows.append(("termux-battery-status", _command(termux.COMMAND, termux.parse)))
    if platform in ("linux", "android"):
        rows += [("sysfs", linux.read_tree), ("idle", linux_idle.read)]
    elif platform == "darwin":
        rows += [
            ("pmset", _command(macos.PMSET, macos.parse_pmset)),
            ("ioreg battery", _command(macos.IOREG_BATTERY, macos.parse_battery)),
            ("ioreg idle", _command(macos.IOREG_IDLE, macos.parse_idle)),
        ]
    elif platform == "win32":
        zone = _command(windows.THERMAL_ZONE, windows.parse_thermal_zone)
        rows += [("thermal zone", at_most_every(SLOW_S, zone)), ("last input", windows.idle)]
    return (*rows, ("nvidia", nvidia.read), ("psutil", portable.read))


def at_most_every(
    every_s: float, source: Sensor, monotonic: Callable[[], float] = time.monotonic
) -> Sensor:
    """Return ``source``, asked again only when its last answer is ``every_s`` old."""
    kept: list[tuple[float, Reading]] = []

    def cached() -> Reading:
        now_s = monotonic()
        if not kept or now_s - kept[0][0] >= every_s:
            kept[:] = [(now_s, source())]
        return kept[0][1]

    return cached


def _command(argv: tuple[str, ...], parse: Callable[[str], Reading]) -> Sensor:
    def source() -> Reading:
        said = output_of(argv)
        return nothing(said.why) if said.value is None else parse(said.value)

    return source
