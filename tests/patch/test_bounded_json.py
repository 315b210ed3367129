"""JSON from a stranger is counted before it is parsed."""

import pytest

from hivelearn.patch.bounded_json import CrowdedError, parsed


def test_within_its_limits_it_is_json():
    raw = '{"é": [1, {"b": null}]}'.encode()
    assert parsed(raw, objects_max=3, items_max=1) == {"é": [1, {"b": None}]}
    pairs = parsed(raw, objects_max=3, items_max=1, pairs_hook=list)
    assert pairs == [("é", [1, [("b", None)]])]


@pytest.mark.parametrize("raw", [b"[[]]", b"[1,2]", b'{"a": {}}', b"[" * 9, b"," * 9])
def test_beyond_them_nothing_is_parsed(raw, monkeypatch):
    monkeypatch.setattr("json.loads", lambda *_, **__: pytest.fail("parsed"))
    with pytest.raises(CrowdedError):
        parsed(raw, objects_max=1, items_max=0)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", "{}".encode("utf-16"), b"[" * 10_000], ids=repr
)
def test_what_is_no_json_is_a_value_error(raw):
    with pytest.raises(ValueError, match=r".*"):
        parsed(raw[:10_000], objects_max=10_000, items_max=0)
