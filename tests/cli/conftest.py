"""Commands called as a shell calls them, in this process or in one of their own."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial

import pytest
from typer.testing import CliRunner

from hivelearn.cli.app import app

STARTED_S = 60.0
QUIET = ("-m", "hivelearn")
# What the device permits goes to stdout, the first time just before the first step.
SAY_PERMITS = """
import logging, sys
log = logging.getLogger("hivelearn.train")
log.setLevel("INFO")
log.addHandler(logging.StreamHandler(sys.stdout))
from hivelearn.cli.app import main
main()
"""
ALOUD = ("-c", SAY_PERMITS)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def call(home):
    """Call a command in this process with a home of its own; ``home=False`` leaves it out."""

    def run(*words, home=home, typed=None):
        where = ("--home", str(home)) if home else ()
        return CliRunner().invoke(app, [*words, *where], input=typed, catch_exceptions=False)

    return run


@pytest.fixture
def shell(home):
    """Run the command line in a process of its own, as installed."""

    def run(*words, **environ):
        return subprocess.run(
            [sys.executable, "-m", "hivelearn", *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=STARTED_S,
            env=environment(home, environ),
        )

    return run


@pytest.fixture
def started(home):
    """Start a command in a process of its own; killed at the end of the block."""

    @contextmanager
    def start(*words, program=QUIET, **environ):
        with heeding_ctrl_c():
            child = subprocess.Popen(
                [sys.executable, *program, *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(home, environ),
            )
        try:
            yield child
        finally:
            child.kill()
            child.communicate()

    return start


@contextmanager
def heeding_ctrl_c():
    """Let what is started in the block be stopped by Ctrl-C, as what a shell starts is.

    Under `nohup` SIGINT arrives ignored; a child would inherit that, and Python leaves
    an ignored SIGINT ignored. What is handled here begins as the default there.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def environment(home, more):
    return os.environ | {"HIVELEARN_HOME": str(home), "OMP_NUM_THREADS": "1"} | more


def wait_until(holds, seconds=STARTED_S):
    end_s = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.05)


@pytest.fixture
def until():
    return wait_until


@pytest.fixture
def started_aloud(started):
    """Start a command that says on stdout what the device permits."""
    return partial(started, program=ALOUD)


@pytest.fixture
def interrupt():
    """Press Ctrl-C for a child; return its exit code, stdout and stderr."""

    def press(child):
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=STARTED_S)
        return child.returncode, out, err

    return press
