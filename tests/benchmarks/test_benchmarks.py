"""A benchmark outlives the names that it measures: each still opens and says how it is run."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if "def main" in path.read_text("utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_opens_and_tells_its_options(script):
    command = [sys.executable, script, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, "--json" in done.stdout) == (0, True), done.stderr[-1000:]
