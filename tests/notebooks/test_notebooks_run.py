"""Notebooks run from top to bottom; committed copies hold pictures and no machine's path."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")  # what a kernel's own libraries deprecate is not ours
def test_a_notebook_runs_and_draws(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("steps=60", "steps=3")  # its way, not its figures
    NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
    shown = outputs(notebook)
    assert any("image/png" in output.get("data", {}) for output in shown)
    texts = [output.get("data", {}).get("text/plain", "") for output in shown]
    assert any(re.search(r"  (\d+)/\1(  |$)", text) for text in texts)  # progress, at its end
    assert [output.text for output in shown if output.get("name") == "stderr"] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_shows_pictures_and_no_path(path):
    notebook = nbformat.read(path, as_version=4)
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    text = path.read_text(encoding="utf-8")
    assert "/tmp" not in text
    assert "/home/" not in text


def test_there_is_a_notebook():
    assert NOTEBOOKS
