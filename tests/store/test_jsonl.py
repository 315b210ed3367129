"""Corrections come in whole or not at all, and go out as they came."""

import json

import pytest

from hivelearn.store.errors import CorrectionError, ImportLineError
from hivelearn.store.jsonl import LINE_MAX_BYTES, LINES_MAX, Defaults

BASE = b"b" * 32
DEFAULTS = Defaults(BASE, 100.0, domain="roman")


def lines(tmp_path, *rows):
    path = tmp_path / "corrections.jsonl"
    raw = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(raw))
    return path


def test_both_kinds_of_lines_are_imported(store, tmp_path):
    path = lines(
        tmp_path,
        b"\xef\xbb\xbf" + json.dumps({"prompt": "14?", "right": "XIV"}).encode(),
        b"  ",
        {"messages": [{"role": "user", "content": "9?"}], "right": "IX", "wrong": "VIIII"},
        {"prompt": "2024-1-2", "right": "2024-01-02", "domain": "iso-date", "subject": "dates"},
        {"prompt": "14?", "right": "xiv"},
    )
    with store.writing("import"):
        assert store.journal.import_jsonl(path, DEFAULTS) == 4
    roman = store.journal.list("roman")
    assert {c.right for c in roman} == {"IX", "xiv"}  # the later line wins
    (date,) = store.journal.list("iso-date")
    assert (date.subject, date.wrong, date.base) == ("dates", None, BASE)


BAD_LINES = {
    "not json": (b"{", "no JSON"),
    "not an object": (b"[]", "no JSON object"),
    "not utf-8": (b'{"prompt": "\xff"}', "not UTF-8"),
    "no answer": ({"prompt": "1?"}, "'right'"),
    "no question": ({"right": "I"}, "either"),
    "two questions": ({"prompt": "1?", "messages": [], "right": "I"}, "either"),
    "a typo": ({"prompt": "1?", "right": "I", "subjcet": "x"}, "subjcet"),
    "empty answer": ({"prompt": "1?", "right": ""}, "empty"),
    "domain in capitals": ({"prompt": "1?", "right": "I", "domain": "ROMAN"}, "domain"),
    "binary": ({"prompt": "1\0", "right": "I"}, "U+0000"),
    "surrogate": (b'{"prompt": "\\ud800", "right": "I"}', "U+D800"),
    "deep": (b"[" * 100_000, "no JSON"),
    "endless": (b" " * (LINE_MAX_BYTES + 1), "longer"),
    "number with a million digits": (b"1" * 10_000, "no JSON"),
    "a list as wrong": ({"prompt": "1?", "right": "I", "wrong": []}, "list where text"),
    "an object as subject": ({"prompt": "1?", "right": "I", "subject": {}}, "dict where text"),
    "no as subject": ({"prompt": "1?", "right": "I", "subject": False}, "bool where text"),
}


@pytest.mark.parametrize(("bad", "why"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_one_bad_line_is_named_and_nothing_is_imported(store, tmp_path, bad, why):
    good = {"prompt": "14?", "right": "XIV"}
    path = lines(tmp_path, good, good, bad, good)
    with store.writing("import"):
        with pytest.raises(ImportLineError) as caught:
            store.journal.import_jsonl(path, DEFAULTS)
        assert (caught.value.line, caught.value.path) == (3, path)
        assert why in caught.value.why
    assert store.journal.list() == ()


def test_a_file_of_too_many_lines_is_refused_before_it_is_all_in_memory(store, tmp_path):
    path = tmp_path / "endless.jsonl"
    path.write_bytes(b"\n" * (LINES_MAX + 1))
    with store.writing("import"), pytest.raises(ImportLineError, match="split"):
        store.journal.import_jsonl(path, DEFAULTS)


def test_without_a_domain_each_line_must_name_one(store, tmp_path):
    path = lines(tmp_path, {"prompt": "14?", "right": "XIV"})
    with store.writing("import"), pytest.raises(ImportLineError, match="domain"):
        store.journal.import_jsonl(path, Defaults(BASE, 1.0))


def test_a_file_that_is_not_there_is_said_so(store, tmp_path):
    with store.writing("import"), pytest.raises(CorrectionError, match="cannot be read"):
        store.journal.import_jsonl(tmp_path / "nothing.jsonl", DEFAULTS)


def test_importing_an_export_changes_nothing(store, correct, tmp_path):
    given = [
        correct("14?", "IVX", created_s=1.25, generation=2, wrong=""),
        correct("14?", "ⅩⅣ 🏛", created_s=2),
    ]
    with store.writing("test"):
        store.journal.add(given)
        assert store.journal.export_jsonl(tmp_path / "out.jsonl") == 2
        assert store.journal.import_jsonl(tmp_path / "out.jsonl", DEFAULTS) == 0
        store.journal.forget(domain="roman")
        assert store.journal.import_jsonl(tmp_path / "out.jsonl", DEFAULTS) == 2
    assert store.journal.list(superseded=True) == tuple(given)


def test_a_dataset_has_the_same_rows(store, correct):
    given = correct("14?", wrong="IVX", created_s=1.5)
    store.remember(given)
    rows = store.journal.to_dataset("roman")
    assert rows.num_rows == 1
    row = rows[0]
    assert row["messages"] == [{"role": "user", "content": "14?"}]
    assert (row["right"], row["wrong"], row["subject"]) == ("XIV", "IVX", None)
    assert (row["holdout"], row["created_s"], row["id"]) == (given.holdout, 1.5, given.id)
    assert store.journal.to_dataset("hex").num_rows == 0
