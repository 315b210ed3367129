"""Every decision record has the one form that the first of them describes."""

import re
from pathlib import Path

import pytest

ADRS = sorted((Path(__file__).parents[2] / "docs" / "adr").glob("*.md"))
HEADINGS = ["Context", "Decision", "What was measured", "Consequences", "Options refused"]


@pytest.mark.parametrize("path", ADRS, ids=lambda path: path.stem)
def test_a_decision_has_title_date_status_and_five_headings(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert re.match(rf"# {int(path.name[:4])}\. \S", lines[0])
    assert re.fullmatch(r"Date: \d{4}-\d\d-\d\d · Status: (accepted|replaced by \d+)", lines[2])
    assert [line[3:] for line in lines if line.startswith("## ")] == HEADINGS


def test_decisions_are_numbered_without_a_gap():
    assert [int(path.name[:4]) for path in ADRS] == list(range(len(ADRS)))
