"""The text a system command prints, or why there is none. Never raises, never waits long."""

import subprocess
from collections.abc import Sequence
from typing import Final

from hivelearn.device.reading import Sensed, known, unknown

TIMEOUT_S: Final = 5.0  # termux-battery-status hangs for ever when its app is missing


def output_of(argv: Sequence[str], timeout_s: float = TIMEOUT_S) -> Sensed[str]:
    """Return what ``argv`` prints to its standard output.

    Args:
        argv: the program and its arguments; no shell reads them.
        timeout_s: after this it is stopped and counts as silent.
    """
    name = argv[0]
    try:
        done = subprocess.run(
            list(argv),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
            encoding="utf-8",
            errors="replace",  # a console code page must not become an exception
        )
    except FileNotFoundError:
        return unknown(f"{name} is not installed")
    except subprocess.TimeoutExpired:
        return unknown(f"{name} gave no answer within {timeout_s:g} s")
    except OSError as error:
        return unknown(f"{name} cannot run: {error.strerror or error}")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return unknown(f"{name} failed: {said[0][:120] if said else f'status {done.returncode}'}")
    return known(done.stdout)
