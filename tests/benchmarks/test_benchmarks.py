"""A benchmark outlives the names that it measures: each still opens and says how it is run."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from hivelearn.inference.general_texts import general_texts
from hivelearn.training import rehearsal

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if "def main" in path.read_text("utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_opens_and_tells_its_options(script):
    command = [sys.executable, script, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, "--json" in done.stdout) == (0, True), done.stderr[-1000:]


def test_no_general_question_of_bench_real_was_rehearsed_or_fitted_to(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    office = importlib.import_module("office")
    known = {text.prompt for text in general_texts()} | set(rehearsal.QUESTIONS)
    assert len(set(office.GENERAL)) == 60
    assert not known & set(office.GENERAL)
