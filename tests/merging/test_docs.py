"""The page on merging names every method and every setting of the table."""

from pathlib import Path

import pytest

from hivelearn.merging.recipe.method_table import TABLE

PAGE = (Path(__file__).parents[2] / "docs" / "merging.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("op", TABLE.values(), ids=TABLE.keys())
def test_the_page_has_the_row_that_the_table_has(op):
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{op.name}` |"))
    assert f"| {op.kind} |" in row
    assert op.source in row
    assert all(f"`{param.name}`" in row for param in op.params)
    assert (f"{op.tolerates:.0%}"[:-1] + " %" in row) == bool(op.tolerates)
