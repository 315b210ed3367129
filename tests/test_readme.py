"""The README's snippets run, in order, as one program would; only its training is shortened."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_snippets_of_the_readme_run_in_order(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 7
    program = "\n".join(blocks)
    assert "steps=200" in program
    program = "import torch; torch.set_num_threads(1)\n" + program.replace("steps=200", "steps=4")
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"HIVELEARN_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "alive" in ran.stdout


def test_every_file_that_the_readme_names_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", text)
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_no_file_that_the_readme_names_is_ignored_by_git():
    # One that is ignored is there for whoever made it, and missing in everybody else's clone.
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    asked = ["git", "check-ignore", "--no-index", *links]
    assert not subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).stdout
