"""The README begins with eight lines that learn something, and says no more than is true.

Its snippets run in ``tests/docs/test_snippets.py``, its links in ``tests/docs/test_links.py``.
"""

import re
from pathlib import Path

import hivelearn

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_readme_begins_with_eight_lines_and_what_they_print():
    _, first, between, shown, *_ = re.split(r"```[a-z]*\n", README, maxsplit=4)
    assert README.startswith("# hivelearn\n\n```python\n")
    assert len([line for line in first.splitlines() if line]) == 8
    assert not between.strip()
    # Asked for a length that nobody corrected; the digits are the point, so they are read here.
    asked = re.findall(r"How many mm are (\d+) cm", first)[-1]
    assert shown.splitlines()[-1] == f"{asked}0 mm"
    assert int(asked) not in range(20, 1000, 3)


def test_every_public_name_that_the_readme_uses_exists():
    named = set(re.findall(r"\bhl\.(\w+)", README))
    assert {"Node", "merge", "Recipe"} <= named <= set(hivelearn.__all__)
