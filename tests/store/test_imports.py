"""Corrections come in whole or not at all, from whatever tool, and go out as they came."""

import json

import pandas as pd
import pytest

from hivelearn.store.errors import CorrectionError, ExportPathError, ImportLineError
from hivelearn.store.import_rows import LINE_MAX_CHARS, ROWS_MAX
from hivelearn.store.imports import REFUSED_MAX, Defaults, ImportReport, read_corrections

BASE = b"b" * 32
DEFAULTS = Defaults(BASE, 100.0, domain="roman")


@pytest.fixture
def take(store, tmp_path):
    """Import bytes, or rows as JSON lines; return the report and what the journal holds then."""

    def run(raw, defaults=DEFAULTS, name="corrections.jsonl"):
        path = tmp_path / name
        path.write_bytes(raw if isinstance(raw, bytes) else lines(*raw))
        with store.writing("import"):
            report = store.journal.import_from(path, defaults)
        return report, store.journal.list()

    return run


def lines(*rows):
    raw = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return b"\n".join(raw)


def test_our_own_kinds_of_rows_are_imported(take, store):
    report, _ = take(
        [
            b"\xef\xbb\xbf" + json.dumps({"prompt": "14?", "right": "XIV"}).encode(),
            b"  ",
            {"messages": [{"role": "user", "content": "9?"}], "right": "IX", "wrong": "VIIII"},
            {"prompt": "2024-1-2", "right": "2024-01-02", "domain": "iso-date", "subject": "dates"},
            {"prompt": "14?", "right": "xiv"},
            {"prompt": "9?", "right": "IX"},
        ]
    )
    assert report == ImportReport(rows=5, new=4)
    assert str(report) == "4 new corrections, 1 said before"
    assert {c.right for c in store.journal.list("roman")} == {"IX", "xiv"}  # the later row wins
    (date,) = store.journal.list("iso-date")
    assert (date.subject, date.wrong, date.base) == ("dates", None, BASE)


BAD_ROWS = {
    "not json": (b"{", "over several lines"),
    "half json": (b'{"prompt": ', "no JSON"),
    "not an object": (b"[]", "no JSON object"),
    "not utf-8": (b'{"prompt": "\xff", "right": "I"}', "not UTF-8"),
    "latin-1": ('{"prompt": "auf römisch?", "right": "I"}'.encode("latin-1"), "save the file as"),
    "no answer": ({"prompt": "1?"}, "no answer (its fields: prompt)"),
    "no question": ({"right": "I"}, "no question (its fields: right)"),
    "nothing": ({}, "no question (its fields: none)"),
    "two questions": ({"prompt": "1?", "messages": [], "right": "I"}, "give either"),
    "two answers": ({"prompt": "1?", "completion": "I", "right": "I"}, "give either"),
    "a typo": ({"prompt": "1?", "right": "I", "subjcet": "x"}, "subjcet"),
    "empty answer": ({"prompt": "1?", "right": ""}, "empty"),
    "domain in capitals": ({"prompt": "1?", "right": "I", "domain": "ROMAN"}, "domain"),
    "domain that is a list": ({"prompt": "1?", "right": "I", "domain": ["a"]}, "domain"),
    "binary": ({"prompt": "1\0", "right": "I"}, "U+0000"),
    "surrogate": (b'{"prompt": "\\ud800", "right": "I"}', "U+D800"),
    "deep": (b"[" * 100_000, "no JSON"),
    "endless": (b" " * (LINE_MAX_CHARS + 1), "longer"),
    "number with a million digits": (b"1" * 10_000, "no JSON"),
    "a list as wrong": ({"prompt": "1?", "right": "I", "wrong": []}, "list where text"),
    "an object as subject": ({"prompt": "1?", "right": "I", "subject": {}}, "dict where text"),
    "no as subject": ({"prompt": "1?", "right": "I", "subject": False}, "bool where text"),
    "yes as answer": ({"prompt": "1?", "right": True}, "bool where text"),
    "a price as answer": ({"prompt": "1?", "right": 4.5}, "write it in quotes"),
    "a word as time": ({"prompt": "1?", "right": "I", "created_s": "now"}, "time"),
    "half a generation": ({"prompt": "1?", "right": "I", "generation": 1.5}, "generation"),
    "no hexadecimal": ({"prompt": "1?", "right": "I", "base": 7}, "hexadecimal"),
}


@pytest.mark.parametrize(("bad", "why"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_one_bad_row_is_named_with_what_is_wanted_and_nothing_is_imported(take, store, bad, why):
    good = {"prompt": "14?", "right": "XIV"}
    with pytest.raises(ImportLineError) as caught:
        take([good, good, bad, good])
    assert caught.value.line == 3
    assert why in caught.value.why
    assert "line 3" in caught.value.what
    assert "prompt and right" in caught.value.remedy
    assert store.journal.list() == ()


def test_all_that_is_wrong_is_counted_in_one_reading(take):
    with pytest.raises(ImportLineError) as caught:
        take([{"prompt": "1?"}, {"prompt": "2?", "right": "II"}, {"right": "III"}, b"x"])
    assert (caught.value.line, caught.value.more) == (1, 2)
    assert "and 2 more lines" in caught.value.what
    with pytest.raises(ImportLineError) as caught:
        take([b'{"prompt": "1?"}'] * (REFUSED_MAX + 50))
    assert caught.value.more == REFUSED_MAX - 1


def test_a_file_of_too_many_lines_is_refused_before_it_is_all_in_memory(take):
    with pytest.raises(ImportLineError, match="split"):
        take(b"\n" * (ROWS_MAX + 1))


def test_without_a_domain_each_row_must_name_one(take):
    with pytest.raises(ImportLineError, match="no domain"):
        take([{"prompt": "14?", "right": "XIV"}], Defaults(BASE, 1.0))


NO_FILES = ["nothing.jsonl", ".", "a\0b", "half \ud83d"]


@pytest.mark.parametrize("name", NO_FILES, ids=ascii)
def test_what_is_no_file_is_said_so(store, tmp_path, name):
    with store.writing("import"), pytest.raises(CorrectionError, match="cannot be read"):
        store.journal.import_from(tmp_path / name, DEFAULTS)
    if "." not in name:
        with pytest.raises(ExportPathError):
            store.journal.export_to(tmp_path / name)


def test_null_is_absent_whoever_fills_a_table_with_it(take):
    rows = [
        {"prompt": "14?", "right": "XIV", "domain": None, "wrong": None, "messages": None},
        {
            "prompt": None,
            "right": "IX",
            "domain": "roman",
            "messages": [{"role": "user", "content": "9?", "name": None, "tool_calls": None}],
        },
    ]
    report, held = take(rows)
    assert (report.new, {c.domain for c in held}) == (2, {"roman"})
    report, _ = take(pd.DataFrame(rows).to_json(orient="records", lines=True).encode())
    assert report == ImportReport(rows=2, new=0)


@pytest.fixture
def spoken(store, correct):
    given = [
        correct("14?", "IVX", created_s=1.25, generation=2, wrong=""),
        correct("14?", "ⅩⅣ 🏛", created_s=2),
        correct([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "9?"}]),
        correct("2024-1-2", "2024-01-02", "iso-date", subject="dates", created_s=1.7e9 + 0.123456),
    ]
    with store.writing("test"):
        store.journal.add(given)
    return store.journal.list(superseded=True)


def test_a_parquet_file_that_is_none_is_not_called_bad_text(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR0\0\xff\xfe and some more of it")
    with pytest.raises(CorrectionError, match="no Parquet file"):
        read_corrections(path, Defaults(BASE, 0.0))


def test_importing_an_export_changes_nothing(store, spoken, tmp_path):
    path = tmp_path / "out.jsonl"
    assert store.journal.export_to(path) == 4
    assert store.journal.export_to(tmp_path / "one.jsonl", "iso-date") == 1
    with store.writing("test"):
        assert store.journal.import_from(path, DEFAULTS) == ImportReport(rows=4, new=0)
        for domain in ("roman", "iso-date"):
            store.journal.forget(domain=domain)
        assert store.journal.import_from(path, DEFAULTS).new == 4
    assert store.journal.list(superseded=True) == spoken


WRITERS = {
    "datasets.jsonl": lambda rows, path: rows.to_json(path),
    "pandas.jsonl": lambda rows, path: rows.to_pandas().to_json(path, orient="records", lines=True),
    "pandas.json": lambda rows, path: rows.to_pandas().to_json(path, orient="records"),
    "datasets.parquet": lambda rows, path: rows.to_parquet(path),
    "pandas.parquet": lambda rows, path: rows.to_pandas().to_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_our_own_dataset_comes_back_from_whatever_wrote_it(store, spoken, tmp_path, name):
    last = store.journal.list()
    WRITERS[name](store.journal.to_dataset(), tmp_path / name)
    with store.writing("test"):
        assert store.journal.import_from(tmp_path / name, DEFAULTS) == ImportReport(3, 0)
        for domain in ("roman", "iso-date"):
            store.journal.forget(domain=domain)
        assert store.journal.import_from(tmp_path / name, DEFAULTS).new == 3
    assert store.journal.list() == last


def test_a_dataset_has_the_same_rows(store, correct):
    given = correct("14?", wrong="IVX", created_s=1.5)
    store.remember(given)
    rows = store.journal.to_dataset("roman")
    assert rows.num_rows == 1
    row = rows[0]
    assert row["messages"] == [{"role": "user", "content": "14?"}]
    assert (row["right"], row["wrong"], row["subject"]) == ("XIV", "IVX", None)
    assert (row["created_s"], row["id"]) == (1.5, given.id)
    assert store.journal.to_dataset("hex").num_rows == 0
    assert row["holdout"] is False  # the only question of its domain
    for n in range(9):
        store.remember(correct(f"{n}?", created_s=n))
    held = {row["id"] for row in store.journal.to_dataset() if row["holdout"]}
    assert held == {c.id for c in store.journal.list(holdout=True)} != set()
