"""A table is straight to the eye and harmless to the terminal and the page."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.errors import UsageError
from hivelearn.report.table import Table, cell_text, printable

CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)


def test_a_table_reads_in_columns_with_numbers_to_the_right():
    rows = [
        {"domain": "roman", "loss (nats)": 0.5, "exact": "95 %", "own": True},
        {"domain": "iso-date", "loss (nats)": 12.25, "exact": "100 %", "own": False},
        {"domain": "base", "loss (nats)": None, "exact": None, "own": None},
    ]
    assert str(Table.of(rows, title="amber-otter")).splitlines() == [
        "amber-otter",
        "domain        loss (nats)            exact  own",
        "────────  ───────────────  ───────────────  ───────────────",
        "roman               0.500             95 %  yes",
        "iso-date           12.250            100 %  no",
        "base      unmeasured here  unmeasured here  unmeasured here",
    ]


def test_a_missing_key_is_unmeasured_never_blank():
    assert Table.of([{"a": 1}, {"b": 2}]).rows == ((1, None), (None, 2))
    assert cell_text(None) == "unmeasured here"


def test_no_rows_still_show_their_heads():
    table = Table(("node", "exact"), ())
    assert str(table).splitlines()[0] == "node  exact"
    assert "<th>node</th>" in table._repr_html_()


def test_a_row_of_another_length_is_refused():
    with pytest.raises(UsageError, match="3 cells under 2 heads"):
        Table(("a", "b"), ((1, 2, 3),))


def test_wide_and_joined_characters_keep_the_columns_straight():
    lines = str(Table(("name", "x"), (("日本", "yes"), ("e\u0301te\u0301", "no")))).splitlines()
    assert lines[2:] == ["日本  yes", "e\u0301te\u0301   no"]


@given(st.text())
def test_no_text_reaches_the_terminal_as_a_command(text):
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in printable(text))


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add((tag, *(name for name, _ in attrs)))


@given(st.lists(st.tuples(CELLS, CELLS)), st.text(), st.text())
def test_no_cell_head_or_title_becomes_markup(rows, head, title):
    page = _Tags()
    page.feed(Table((head, "b"), tuple(rows), title)._repr_html_())
    plain = {(tag,) for tag in ("table", "caption", "thead", "tbody", "tr", "th", "td")}
    assert page.seen <= plain | {("td", "style")}


def test_markup_in_a_cell_is_shown_as_text():
    page = Table(("a",), (("<script>alert(1)</script>",),))._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_control_characters_are_shown_not_obeyed():
    assert str(Table(("a",), (("\x1b[2Jgone",),))).endswith("\\x1b[2Jgone")
