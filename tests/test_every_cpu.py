"""Numeric promises hold on every CPU: the same tests, in children that see a smaller one.

oneDNN and ATen choose their kernels by the CPU's instructions, and each kernel sums in
another order. A promise that was tuned on one machine breaks on the next, so it is kept
here under kernels for other instructions and under other numbers of threads. Some CPUs
have no choice (ARM knows neither variable); there every child sees the same machine.

``make test`` runs a chosen few, ``make proof`` all of merging, training and what is
promised to the bit, in every environment.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KERNELS = {
    "as it is": {},
    "oneDNN for AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "oneDNN for AVX-512 without bf16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "ATen without vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "ATen for AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
}
# The two that are farthest from a new server's CPU, and from each other.
FEW = {
    "plain": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "default"},
    "AVX-512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx2"},
}
QUICK = [
    "tests/merging/test_degenerate.py",
    "tests/merging/lowrank/test_gram.py",
    "tests/training/test_init_lora.py",
]
ROOMS = ["tests/merging", "tests/training", "tests/inference"]
# Whole files that promise bits: a training that goes on, and one that others interrupt.
TO_THE_BIT = [
    "tests/node/learn/test_train.py",
    "tests/node/learn/test_resume.py",
    "tests/node/test_many_hands.py",
    "tests/patch/test_adapter.py",
]


def passes(tests: list[str], environment: dict[str, str], threads: int) -> None:
    """Run ``tests`` in a child with this environment and so many threads."""
    missing = [path for path in tests if not (ROOT / path).exists()]
    assert not missing, "these tests have moved"
    # Passive: threads that spin while they wait stand still where somebody else needs the cores.
    told = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive", **environment}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header"]
    done = subprocess.run(
        [*command, *tests],
        cwd=ROOT,
        env=os.environ | told,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"with {told}:\n{done.stdout[-4000:]}{done.stderr[-1000:]}"


@pytest.mark.parametrize("environment", FEW.values(), ids=FEW.keys())
def test_a_chosen_few_hold_with_other_kernels_and_two_threads(environment):
    passes(QUICK, environment, threads=2)


@pytest.mark.proof
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("environment", KERNELS.values(), ids=KERNELS.keys())
def test_all_numeric_promises_hold(environment, threads):
    passes([*ROOMS, *TO_THE_BIT], environment, threads)
