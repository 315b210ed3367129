"""Every example runs from a clean checkout, offline, and leaves nothing behind."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TIMEOUT_S = 150.0

# What a reader must see for each to have done what its docstring says.
SAID = {
    "hf_trainer": ["Patch(", "iso-date, Adapter(rank=16", "iso-date: "],
    "one_subject": ["roman: trunk 0 (", "grown by 2", "roman: trunk 2 (", "numerals? →"],
    "overnight": ["Working", "roman: ", " own; 0 vouched for"],
    "own_model": ["ResidentEngine(LlamaForCausalLM", "adapter_model.safetensors", "patch.cbor"],
    "script": ["58+22 held out", "roman: ", "in Roman numerals", "generation"],
    "swarm_and_merge": ["1 patch from 1 peer", "roman: admitted", "clock12: admitted"],
    "torch_loop": ["epoch 0: loss", "Patch(", "published", "@127.0.0.1:"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Start all, two at a time: one of them mostly waits."""
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(run, name, tmp_path_factory.mktemp(name)) for name in SAID}


def run(name, folder):
    scratch, home = folder / "tmp", folder / "home"
    scratch.mkdir()
    environ = os.environ | {
        "HOME": str(home),
        "TMPDIR": str(scratch),
        "XDG_DATA_HOME": str(home),
        "TORCHINDUCTOR_CACHE_DIR": str(home),  # torch makes one, used or not
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), "--quick"],
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=environ,
        cwd=folder,
    )
    left = [p.name for p in scratch.iterdir()] + [p.name for p in folder.iterdir()]
    return done, left, (home / "hivelearn").exists()


def test_every_example_is_run_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == SAID.keys()


@pytest.mark.parametrize("name", SAID)
def test_an_example_does_what_it_says_and_leaves_nothing_behind(name, runs):
    done, left, touched_the_users_home = runs[name].result()
    assert done.returncode == 0, done.stderr[-3000:]
    missing = [text for text in SAID[name] if text not in done.stdout]
    assert not missing, done.stdout
    assert "Loading weights" not in done.stderr  # nobody else's bars
    assert sorted(set(left) - {"home"}) == ["tmp"]
    assert not touched_the_users_home
