"""Somebody who looks for a method by its name finds its page in one table."""

import re

import pytest

from hivelearn.merging import methods
from hivelearn.merging.recipe.method_table import TABLE


def pages():
    """Return method to page, as the docstring of the package has them."""
    rows = methods.__doc__.split("====\n")[2]
    found, page = {}, ""
    for line in rows.splitlines():
        head = re.match(r"``(\w+)``", line)
        page = head[1] if head else page
        for name in re.findall(r"\b[a-z][a-z_]+\b", line[22:].split(";")[0]):
            found.setdefault(name, page)
    return found


@pytest.mark.parametrize("op", TABLE.values(), ids=TABLE.keys())
def test_the_pages_of_the_table_are_those_of_the_methods(op):
    name = op.name if op.name in pages() else op.name.removeprefix("core_")
    assert op.home == f"hivelearn.merging.methods.{pages()[name]}"
    assert op.load().__module__ == op.home
