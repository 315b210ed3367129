"""A payload is canonical or refused: one table of what people could try.

NaN and infinities pass here on purpose: the header is judged before any number
is read, and finite numbers are the gate's question.
"""

import json
import re
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.patch import safetensors_header as header
from hivelearn.patch.limits import PATCH_RANK_MAX
from hivelearn.patch.safetensors_header import DIM_MAX, HEADER_MAX_BYTES, TENSORS_MAX, HeaderError

META = {"__metadata__": {"format": "pt"}}


def _key(module, factor):
    return f"base_model.model.{module}.lora_{factor}.weight"


def _raw(text, data=b"", *, size=None):
    """A payload with this header text, whatever it says."""
    body = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(body) if size is None else size) + body + data


def _payload(tensors, *, meta=META, dtype="F32", indent=None):
    """A payload of name -> shape, laid out as safetensors does, without judging anything."""
    table, at = dict(meta), 0
    for name, shape in tensors:
        end = at + 4 * shape[0] * shape[1]
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(table, separators=(",", ":"), indent=indent)
    return _raw(text + " " * (-len(text) % 8), bytes(at))


def _pair(module, rank=2, d_in=3, d_out=5):
    return [(_key(module, "A"), [rank, d_in]), (_key(module, "B"), [d_out, rank])]


QA, QB = _key("m.0.q", "A"), _key("m.0.q", "B")
GOOD = _payload(_pair("m.0.q"))


def _table(change):
    """GOOD with its header's table changed; padded anew, data as it was."""
    size = int.from_bytes(GOOD[:8], "little")
    table = json.loads(GOOD[8 : 8 + size])
    change(table)
    text = json.dumps(table, separators=(",", ":"))
    return _raw(text + " " * (-len(text) % 8), GOOD[8 + size :])


def _swap(old, new):
    """GOOD with text replaced in the header and its length made to fit."""
    size = int.from_bytes(GOOD[:8], "little")
    text = GOOD[8 : 8 + size].decode()
    assert old in text
    text = text.replace(old, new, 1).rstrip(" ")
    return _raw(text + " " * (-len(text) % 8), GOOD[8 + size :])


def _set(name, field, value):
    return _table(lambda table: table[_key("m.0.q", name)].update({field: value}))


def test_a_good_payload_is_read():
    head = header.read(GOOD)
    assert (head.dtype, head.rank) == ("F32", 2)
    a, b = head.factors["m.0.q"]
    assert (a.shape, b.shape) == ((2, 3), (5, 2))
    assert (a.start, a.end, b.start, b.end) == (0, 24, 24, 64)
    assert len(GOOD) == head.data_start + 64


HOSTILE = {
    "size": {
        "nothing": b"",
        "seven bytes": b"\0" * 7,
        "header longer than the file": _raw("{}", size=3),
        "header of 2^64-1 bytes": _raw("{}", size=2**64 - 1),
        "header of a mebibyte and one": _raw(b" " * (HEADER_MAX_BYTES + 1)),
        "900,000 empty tensors": _raw("{" + '"a":{},' * 900_000 + "}"),
    },
    "json": {
        "empty header": _raw(""),
        "no JSON": _raw("{,}"),
        "two objects": _raw("{}{}"),
        "an array": _raw("[]"),
        "a number": _raw("1"),
        "no UTF-8": _raw(b'{"\xff":1}'),
        "UTF-16": _raw(json.dumps(META).encode("utf-16")),
        "a byte order mark": _raw("\ufeff" + json.dumps(META)),
        "deep arrays": _raw("[" * 10_000),
        "deep objects": _raw('{"a":' * 10_000),
        "a number of a million digits": _raw("9" * 1_000_000),
    },
    "duplicate": {
        "a tensor twice": _raw('{"__metadata__":{"format":"pt"},"a":{},"a":{}}'),
        "metadata twice": _swap('{"__m', '{"__metadata__":{"format":"pt"},"__m'),
        "a shape twice": _swap('"shape"', '"shape":[1,1],"shape"'),
    },
    "metadata": {
        "no metadata": _payload(_pair("q"), meta={}),
        "more metadata": _payload(_pair("q"), meta={"__metadata__": {"format": "pt", "who": "me"}}),
        "other format": _payload(_pair("q"), meta={"__metadata__": {"format": "tf"}}),
    },
    "count": {
        "no tensor": _payload([]),
        "one tensor too many": _payload([(f"{n:05}", [1, 1]) for n in range(TENSORS_MAX + 1)]),
        "very deep arrays": _raw("[" * 500_000),
        "very deep objects": _raw('{"a":' * 200_000),
        "one tensor of half a million sides": _raw('{"a":[' + "0," * 500_000 + "0]}"),
        "70,000 empty tensors": _raw(json.dumps(META | dict.fromkeys(map(str, range(70_000)), 0))),
    },
    "dtype": {
        "float64": _payload(_pair("q"), dtype="F64"),
        "int8": _payload(_pair("q"), dtype="I8"),
        "two types": _set("B", "dtype", "BF16"),
        "a list as type": _set("A", "dtype", ["F32"]),
        "a tensor that is a number": _table(lambda t: t.update({_key("n", "A"): 7})),
        "tensors that are lists": _raw('{"__metadata__":{"format":"pt"},"a":[]}'),
    },
    "shape": {
        "one dimension": _set("A", "shape", [6]),
        "three dimensions": _set("A", "shape", [2, 3, 1]),
        "no shape": _table(lambda t: t[QA].pop("shape")),
        "no rows, 2^60 columns": _payload([(_key("q", "A"), [0, 2**60])]),
        "2^60 rows, no columns": _payload([(_key("q", "A"), [2**60, 0])]),
        "negative rows": _set("A", "shape", [-2, -3]),
        "too wide": _set("A", "shape", [2, DIM_MAX + 1]),
        "true rows": _payload([(_key("q", "A"), [True, 3])]),
        "a float as rows": _set("A", "shape", [2.0, 3]),
        "text as rows": _set("A", "shape", ["2", 3]),
        "false as offset": _set("A", "data_offsets", [False, 24]),
        "three offsets": _set("A", "data_offsets", [0, 24, 24]),
    },
    "offsets": {
        "overlapping": _set("B", "data_offsets", [0, 40]),
        "a hole": _set("B", "data_offsets", [32, 72]),
        "other length": _set("A", "data_offsets", [0, 23]),
        "backwards": _set("A", "data_offsets", [24, 0]),
        "negative offset": _set("A", "data_offsets", [-24, 0]),
        "data in another order": _payload(list(reversed(_pair("m.0.q")))),
        "data cut": GOOD[:-1],
        "data after the end": GOOD + b"\0",
    },
    "name": {
        "up the tree": _payload([("../../etc/passwd", [1, 1])]),
        "up the tree inside a name": _payload(_pair("../../etc/passwd")),
        "NUL": _payload(_pair("q\0")),
        "a lone surrogate": _payload(_pair("q\ud800")),
        "not ASCII": _payload(_pair("q\u00e9")),
        "digits of another script": _payload(_pair("layers.\u0663")),
        "a line break at the end": _payload([(_key("q", "A") + "\n", [1, 1])]),
        "empty name": _payload([("", [1, 1])]),
        "empty module": _payload(_pair("")),
        "empty part": _payload(_pair("a..b")),
        "dot in front": _payload(_pair(".a")),
        "the embedding itself": _payload([("base_model.model.embed_tokens.weight", [1, 1])]),
        "an embedding's factor": _payload(
            [("base_model.model.embed_tokens.lora_embedding_A", [1, 1])]
        ),
        "a base weight": _payload([("base_model.model.layers.0.q_proj.base_layer.weight", [1, 1])]),
        "a base layer's factor": _payload(_pair("q_proj.base_layer")),
        "a saved module": _payload([("base_model.model.lm_head.modules_to_save.weight", [1, 1])]),
        "a saved module's factor": _payload(_pair("lm_head.modules_to_save.default")),
        "an original module's factor": _payload(_pair("lm_head.original_module")),
        "a factor of a factor": _payload(_pair("q.lora_A.default")),
        "a magnitude vector": _payload(
            [("base_model.model.q.lora_magnitude_vector.weight", [1, 1])]
        ),
        "a bias": _payload([("base_model.model.q.lora_B.bias", [1, 1])]),
        "no prefix": _payload([("q.lora_A.weight", [1, 1]), ("q.lora_B.weight", [1, 1])]),
        "an adapter's name inside": _payload(
            [("base_model.model.q.lora_A.default.weight", [1, 1])]
        ),
        "a name of 201": _payload(_pair(".".join(["a" * 50] * 4)[:200] + "b")),
        "33 parts": _payload(_pair(".".join("a" * 33))),
    },
    "pair": {
        "A without B": _payload(_pair("q")[:1]),
        "B without A": _payload(_pair("q")[1:]),
        "one module whole, one not": _payload(_pair("a") + _pair("b")[:1]),
    },
    "rank": {
        "rank 4096": _payload(_pair("q", rank=4096, d_in=1, d_out=1)),
        "rank 65": _payload(_pair("q", rank=PATCH_RANK_MAX + 1)),
        "two ranks": _payload(_pair("a", rank=2) + _pair("b", rank=3)),
        "A and B of two ranks": _payload([(_key("q", "A"), [2, 3]), (_key("q", "B"), [5, 3])]),
    },
    "canonical": {
        "another field in a record": _set("A", "note", "hello"),
        "blanks inside": _payload(_pair("q"), indent=1),
        "a blank in front": _swap("{", " {"),
        "eight blanks more": _raw(GOOD[8:-64] + b" " * 8, GOOD[-64:]),
        "padded with tabs": _raw(GOOD[8:-64].rstrip(b" ") + b"\t" * 8, GOOD[-64:]),
        "an escaped letter": _swap("base_model", "b\\u0061se_model"),
        "fields in another order": _table(lambda t: t[QA].update(dtype=t[QA].pop("dtype"))),
        "tensors in another order": _table(lambda t: t.update({QA: t.pop(QA)})),
        "metadata at the end": _table(lambda t: t.update(__metadata__=t.pop("__metadata__"))),
        "minus nought": _swap("[0,24]", "[-0,24]"),
    },
}


CASES = {
    f"{code}: {name}": (payload, code)
    for code, group in HOSTILE.items()
    for name, payload in group.items()
}


@pytest.mark.parametrize(("payload", "code"), CASES.values(), ids=CASES.keys())
def test_a_hostile_payload_is_refused_and_its_author_is_to_blame(payload, code):
    with pytest.raises(HeaderError) as caught:
        header.read(payload)
    assert (caught.value.code, caught.value.fault) == (f"st.{code}", "author")


def test_every_rule_of_the_reader_has_its_hostile_payload():
    source = Path(header.__file__).read_text(encoding="utf-8")
    rules = set(re.findall(r'raise HeaderError\(.*, "([a-z]+)"\)', source))
    assert rules == HOSTILE.keys()


@given(st.integers(0, len(GOOD) - 65), st.integers(0, 7))
def test_no_bit_of_the_header_can_be_flipped_unseen(at, bit):
    """Refused, or another payload that is canonical itself: never the same meaning."""
    changed = bytearray(GOOD)
    changed[at] ^= 1 << bit
    try:
        head = header.read(bytes(changed))
    except HeaderError:
        return
    assert head != header.read(GOOD)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_nothing_else_escapes(data):
    for payload in (data, _raw(data), _raw(b'{"__metadata__":{"format":"pt"},' + data + b"}")):
        with pytest.raises(HeaderError):
            header.read(payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside),
    max_leaves=6,
)


@given(st.sampled_from(["dtype", "shape", "data_offsets"]), JSON, st.sampled_from("AB"))
def test_any_json_in_any_field_is_read_or_refused(field, value, factor):
    changed = _set(factor, field, value)
    try:
        assert header.read(changed) == header.read(GOOD)
    except HeaderError:
        return
    assert changed == GOOD


NAMES = st.lists(
    st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True), min_size=1, max_size=4
).map(".".join).filter(header.allowed)  # fmt: skip


@given(
    st.lists(NAMES, min_size=1, max_size=5, unique=True),
    st.integers(1, 4),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_safetensors_writes_what_we_write_and_reads_it(names, rank, dtype):
    tensors = {}
    for number, name in enumerate(names):
        tensors[_key(name, "A")] = torch.full((rank, number + 1), number, dtype=dtype)
        tensors[_key(name, "B")] = torch.full((number + 2, rank), -number, dtype=dtype)
    theirs = safetensors.torch.save(tensors, metadata={"format": "pt"})
    short = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}[dtype]
    ours = header.write({name: tuple(t.shape) for name, t in tensors.items()}, short)
    assert theirs.startswith(ours)
    assert set(header.read(theirs).factors) == set(names)


def test_names_at_their_limits_are_read():
    longest = ".".join(["a" * 64, "b" * 64, "c" * 64, "d" * 5])
    assert len(longest) == header.NAME_MAX
    widest = _payload(_pair("q", rank=PATCH_RANK_MAX, d_in=1, d_out=1))
    assert header.read(widest).rank == PATCH_RANK_MAX
    assert longest in header.read(_payload(_pair(longest))).factors
    assert header.read(_payload(_pair(".".join("a" * 32)))).rank == 2


def test_a_not_a_number_passes_here_because_the_gate_asks_that():
    assert header.read(GOOD[:-4] + struct.pack("<f", float("nan"))).rank == 2


@pytest.mark.parametrize(
    "text",
    [
        "{" + ",".join(f'"{n}":{{}}' for n in range(90_000)) + "}",
        '{"a":[' + ",".join(["[]"] * 340_000) + "]}",
        '{"a":[' + ",".join("0" * 520_000) + "]}",
    ],
    ids=["tensors", "lists", "numbers"],
)
def test_a_header_of_too_many_things_is_refused_before_it_is_parsed(text, monkeypatch):
    monkeypatch.setattr("json.loads", lambda *_, **__: pytest.fail("parsed"))
    with pytest.raises(HeaderError) as caught:
        header.read(_raw(text[: header.HEADER_MAX_BYTES]))
    assert caught.value.code == "st.count"
