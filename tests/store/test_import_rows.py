"""A file is read as what its bytes are: lists, tables, other line ends, other encodings."""

import io
import json
import tracemalloc

import pandas as pd
import pytest

from hivelearn.store.errors import CorrectionError
from hivelearn.store.import_rows import read_rows

ROWS = [{"prompt": "Wie heißt 14 auf römisch?", "right": "XIV"}, {"prompt": "9?", "right": "IX"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


@pytest.fixture
def rows(tmp_path):
    def read(raw, name="in.jsonl"):
        (tmp_path / name).write_bytes(raw)
        return list(read_rows(tmp_path / name).each)

    return read


def parquet(rows):
    file = io.BytesIO()
    pd.DataFrame(rows).to_parquet(file)
    return file.getvalue()


SAME = {
    "lines": LINES.encode(),
    "lines with a mark": LINES.encode("utf-8-sig"),
    "lines of Windows": LINES.replace("\n", "\r\n").encode(),
    "lines of an old Macintosh": LINES.replace("\n", "\r").encode(),
    "no end of line": LINES.rstrip().encode(),
    "UTF-16 with a mark": LINES.encode("utf-16"),
    "UTF-16 of Windows": ("\ufeff" + LINES.replace("\n", "\r\n")).encode("utf-16-le"),
    "UTF-16 without a mark": LINES.encode("utf-16-le"),
    "UTF-16, the other end first": LINES.encode("utf-16-be"),
    "UTF-32 with a mark": LINES.encode("utf-32"),
    "a list": json.dumps(ROWS).encode(),
    "an indented list": json.dumps(ROWS, indent=1).encode("utf-8-sig"),
    "a list in UTF-16": json.dumps(ROWS, indent=1).encode("utf-16"),
    "a table": "prompt,right\nWie heißt 14 auf römisch?,XIV\n9?,IX\n".encode(),
    "a table of a spreadsheet": "\ufeffprompt;right\r\n"
    '"Wie heißt 14 auf römisch?";XIV\r\n9?;IX\r\n'.encode(),
    "a table with tabs": "right\tprompt\nXIV\tWie heißt 14 auf römisch?\nIX\t9?\n".encode("utf-16"),
    "Parquet": parquet(ROWS),
}


@pytest.mark.parametrize("raw", SAME.values(), ids=SAME.keys())
def test_one_text_in_many_forms_has_the_same_rows(rows, raw):
    assert [row.fields for row in rows(raw)] == ROWS


def test_a_cell_may_hold_lines_commas_and_a_conversation_and_a_row_is_named_by_its_first_line(rows):
    turns = '"[{""role"": ""user"", ""content"": ""1?""}]"'
    raw = f'messages,right,wrong\n{turns},"I,\nor i",\n\n{turns},II,III,IV\n'
    first, second = rows(raw.encode())
    assert first.number == 2
    assert first.fields == {"messages": [{"role": "user", "content": "1?"}], "right": "I,\nor i"}
    assert (second.number, second.why) == (5, "4 cells, but the first line names 3")


REFUSED = {
    "an object over several lines": (json.dumps(ROWS[0], indent=1).encode(), 1, "one object a"),
    "a list that is cut": (b'[{"prompt": "1?",\n', 1, "no JSON (line"),
    "a list of lists": (b"[[1, 2]]", 1, "no JSON object"),
    "a list in latin-1": ('["ö"]'.encode("latin-1"), 1, "not UTF-8"),
    "latin-1 in the third line": (b"{}\n{}\n" + '{"a": "ö"}'.encode("latin-1"), 3, "not UTF-8"),
    "UTF-16 that is cut": (LINES.encode("utf-16")[:-1], 2, "not UTF-16"),
    "a table in latin-1": ("prompt,right\nrömisch?,I\n".encode("latin-1"), 2, "not UTF-8"),
    "an open quote": (b'prompt,right\n1?,"I\n', 2, "no CSV"),
    "two columns of one name": (b"prompt,right,right\n1?,I,I\n", 1, "one name"),
    "Python where JSON belongs": (
        b"messages,right\n\"[{'role': 'user'}]\",I\n",
        2,
        "'messages' holds no JSON",
    ),
    "Parquet that is cut": (SAME["Parquet"][:-20], 1, "damaged"),
    "Parquet that is a mark": (b"PAR1", 1, "damaged"),
    "words": (b"Dear journal,\n", 1, "no JSON"),
}


@pytest.mark.parametrize(("raw", "number", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_row_that_cannot_be_read_says_which_and_why(rows, raw, number, why):
    refused = [row for row in rows(raw) if row.fields is None]
    assert refused[0].number == number
    assert why in refused[0].why


OTHERS = {
    "gzip": (b"\x1f\x8b\x08", "unpack"),
    "a spreadsheet": (b"PK\x03\x04", "as CSV"),
    "Arrow": (b"ARROW1\0\0", "as Parquet"),
    "SQLite": (b"SQLite format 3\0", "export"),
}


@pytest.mark.parametrize(("raw", "todo"), OTHERS.values(), ids=OTHERS.keys())
def test_a_file_of_another_kind_is_named_with_what_to_do(rows, raw, todo):
    with pytest.raises(CorrectionError, match=todo):
        rows(raw)


def test_a_long_file_is_read_row_by_row(tmp_path):
    path = tmp_path / "long.jsonl"
    line = json.dumps({"prompt": "1?", "right": "x" * 10_000}).encode() + b"\n"
    path.write_bytes(line * 500)  # five megabytes
    tracemalloc.start()
    try:
        assert sum(row.fields is not None for row in read_rows(path).each) == 500
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_an_empty_file_has_no_rows(rows):
    assert rows(b"") == rows(b"\n \n") == rows(b"[]") == rows(b"prompt,right\n") == []
