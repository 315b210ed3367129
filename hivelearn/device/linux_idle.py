"""Linux: how long ago somebody last touched this machine.

The access time of ``/dev/input`` devices is not kept, so logind is asked: a
desktop tells it when its session is idle, and a text session's terminal keeps
the time of the last key in its access time. No logind and no terminal: unknown.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from hivelearn.device.commands import output_of
from hivelearn.device.linux import ROOT
from hivelearn.device.reading import Reading, Sensed, known, unknown

LIST_SESSIONS: Final = ("loginctl", "list-sessions", "--no-legend")
_PROPERTIES: Final = ("Class", "Type", "TTY", "IdleHint", "IdleSinceHintMonotonic")


def read(run: Callable[[Sequence[str]], Sensed[str]] = output_of, root: Path = ROOT) -> Reading:
    """Return the idle time.

    Args:
        run: gives what a command prints.
        root: where the tree of devices begins.
    """
    terminals = terminals_idle(root, time.time())
    listed = run(LIST_SESSIONS)
    if listed.value is None:
        desktop = has_desktop(root, os.environ)
        return Reading(idle_s=idle_of_terminals(terminals, desktop=desktop))
    command = show_sessions(listed.value)
    if command is None:
        return Reading(idle_s=unknown("nobody is logged in, as far as logind knows"))
    shown = run(command)
    if shown.value is None:
        return Reading(idle_s=unknown(shown.why))
    sessions = parse_sessions(shown.value)
    return Reading(idle_s=idle_of_sessions(sessions, terminals, time.monotonic()))


def show_sessions(listed: str) -> tuple[str, ...] | None:
    """Return the command that describes the sessions ``loginctl list-sessions`` printed."""
    ids = [line.split()[0] for line in listed.splitlines() if line.split()]
    wanted = (f"--property={name}" for name in _PROPERTIES)
    return ("loginctl", "show-session", *ids, *wanted) if ids else None


def parse_sessions(shown: str) -> list[dict[str, str]]:
    """Return the properties of every session of a person (not greeters, not managers)."""
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in shown.split("\n\n")
    ]
    return [block for block in blocks if block.get("Class") == "user"]


def idle_of_sessions(
    sessions: Iterable[Mapping[str, str]], terminals: Mapping[str, float], monotonic_s: float
) -> Sensed[float]:
    """Return the idle time of the least idle session.

    Args:
        sessions: what :func:`parse_sessions` returned.
        terminals: seconds since the last key of each, by name such as "pts/0".
        monotonic_s: CLOCK_MONOTONIC now, the clock of IdleSinceHintMonotonic.
    """
    idle = [_idle_of(session, terminals, monotonic_s) for session in sessions]
    felt = [seconds for seconds in idle if seconds is not None]
    return known(min(felt)) if felt else unknown("no session of logind tells its idle time")


def _idle_of(
    session: Mapping[str, str], terminals: Mapping[str, float], monotonic_s: float
) -> float | None:
    if session.get("IdleHint") == "yes" and session.get("IdleSinceHintMonotonic", "").isdigit():
        return max(0.0, monotonic_s - int(session["IdleSinceHintMonotonic"]) / 1e6)
    if session.get("Type") in ("x11", "wayland", "mir"):
        return 0.0  # a desktop that does not call itself idle counts as in use
    return terminals.get(session.get("TTY", ""))


def idle_of_terminals(terminals: Mapping[str, float], *, desktop: bool) -> Sensed[float]:
    """Return the idle time where there is no logind: terminals tell, but not for a desktop."""
    if desktop:
        return unknown("a desktop without logind does not tell its idle time")
    if not terminals:
        return unknown("no terminal is open and logind is not there")
    return known(min(terminals.values()))


def has_desktop(root: Path, environ: Mapping[str, str]) -> bool:
    """Return whether a display runs: ours by the environment, anybody's by its X socket."""
    ours = any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return ours or any((root / "tmp/.X11-unix").glob("X*"))


def terminals_idle(root: Path, now_s: float) -> dict[str, float]:
    """Return the seconds since the last key of every terminal below ``root``/dev.

    Args:
        root: where the tree begins; "/" outside of tests.
        now_s: wall-clock seconds since 1970, the clock of access times.
    """
    found = {}
    for pattern in ("tty[0-9]*", "pts/[0-9]*"):
        try:
            paths = sorted((root / "dev").glob(pattern))
            for path in paths:
                name = str(path.relative_to(root / "dev"))
                found[name] = max(0.0, now_s - path.stat().st_atime)
        except OSError:  # one closed while we looked, or a folder that is not ours
            continue
    return found
