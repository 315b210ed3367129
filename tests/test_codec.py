"""The codec against cbor2, against chance and against a table of bad intentions."""

import math

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hivelearn import codec
from hivelearn.codec import DEPTH_MAX, CodecError, decode, encode, fixed, real

INTEGERS = st.integers(-(2**64), 2**64 - 1)
SCALARS = (
    INTEGERS | st.binary(max_size=300) | st.text(max_size=80) | st.booleans() | st.none()
)  # fmt: skip


def _containers(inside):
    return st.lists(inside, max_size=5) | st.dictionaries(INTEGERS, inside, max_size=5)


def _values(depth=DEPTH_MAX):
    """Values that are at most ``depth`` containers deep."""
    values = SCALARS
    for _ in range(min(depth, 3)):
        values = SCALARS | _containers(values)
    return values


VALUES = _values()


@given(VALUES)
@example([[[[[[[[]]]]]]]])  # eight deep
@example({-(2**64): 2**64 - 1, 23: b"", 24: "", 255: [], 256: {}})
def test_it_writes_what_cbor2_writes_in_canonical_order(value):
    assert encode(value) == _sorted_bytewise(value)


def _sorted_bytewise(value):
    """cbor2 sorts keys by length first (RFC 7049); RFC 8949 §4.2.1 sorts them bytewise.

    For integer keys of the same sign both orders are one; across signs they are not.
    """
    if isinstance(value, list):
        head = cbor2.dumps([0] * len(value))[: -len(value) or None]
        return head + b"".join(_sorted_bytewise(item) for item in value)
    if isinstance(value, dict):
        # The head of a map of n is that of an array of n, with another major type.
        head = cbor2.dumps([0] * len(value))[: -len(value) or None]
        rows = sorted((cbor2.dumps(key), item) for key, item in value.items())
        body = b"".join(key + _sorted_bytewise(item) for key, item in rows)
        return bytes([head[0] | 0x20]) + head[1:] + body
    return cbor2.dumps(value, canonical=True)


@given(st.dictionaries(st.integers(0, 2**64 - 1), SCALARS, max_size=8) | SCALARS)
def test_with_keys_of_one_sign_it_is_cbor2_s_canonical_form(value):
    assert encode(value) == cbor2.dumps(value, canonical=True)


@given(VALUES)
def test_cbor2_reads_the_same_meaning(value):
    assert cbor2.loads(encode(value)) == value


@given(VALUES)
def test_what_is_written_is_read_back(value):
    assert decode(encode(value)) == value


def _decodes_or_is_refused(data):
    try:
        value = decode(data)
    except CodecError:
        return
    assert encode(value) == data


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_canonical_and_nothing_else_escapes(data):
    _decodes_or_is_refused(data)


@given(VALUES, st.data())
def test_changed_bytes_are_refused_or_canonical_and_nothing_else_escapes(value, data):
    raw = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    _decodes_or_is_refused(bytes(raw))


@given(VALUES, st.integers(0, 10_000))
def test_no_proper_prefix_of_an_encoding_is_an_encoding(value, cut):
    raw = encode(value)
    with pytest.raises(CodecError):
        decode(raw[: cut % len(raw)])


HOSTILE = {
    "nothing": b"",
    "trailing byte": b"\x00\x00",
    "key twice": b"\xa2\x01\x00\x01\x00",
    "keys not sorted": b"\xa2\x02\x00\x01\x00",
    "keys sorted by length first": bytes.fromhex("a2 20 00 1818 00"),
    "text as key": b"\xa1\x61a\x00",
    "bytes as key": b"\xa1\x41a\x00",
    "true as key": b"\xa1\xf5\x00",
    "null as key": b"\xa1\xf6\x00",
    "array as key": b"\xa1\x80\x00",
    "map as key": b"\xa1\xa0\x00",
    "23 in two bytes": b"\x18\x17",
    "255 in three bytes": b"\x19\x00\xff",
    "65535 in five bytes": b"\x1a\x00\x00\xff\xff",
    "2^32-1 in nine bytes": b"\x1b\x00\x00\x00\x00\xff\xff\xff\xff",
    "length in two bytes": b"\x58\x01a",
    "indefinite bytes": b"\x5f\x41a\xff",
    "indefinite text": b"\x7f\x61a\xff",
    "indefinite array": b"\x9f\x00\xff",
    "indefinite map": b"\xbf\x00\x00\xff",
    "break alone": b"\xff",
    "reserved head 28": b"\x1c",
    "reserved head 30": b"\x1e",
    "half float": b"\xf9\x00\x00",
    "float": b"\xfa\x00\x00\x00\x00",
    "double": b"\xfb" + bytes(8),
    "undefined": b"\xf7",
    "simple value 16": b"\xf0",
    "simple value in two bytes": b"\xf8\xff",
    "true in two bytes": b"\xf8\x15",
    "date tag": b"\xc0\x60",
    "bignum tag": b"\xc2\x41\x01",
    "regular expression tag": b"\xd8\x23\x64(a+)",
    "shared reference tag": b"\xd8\x1c\x80",
    "self-described CBOR tag": b"\xd9\xd9\xf7\x00",
    "argument cut": b"\x19\x01",
    "argument absent": b"\x1b",
    "bytes longer than what is left": b"\x42a",
    "text longer than what is left": b"\x62a",
    "claimed bytes of 2^64-1": b"\x5b" + b"\xff" * 8,
    "claimed text of 2^64-1": b"\x7b" + b"\xff" * 8,
    "claimed array of 2^64-1": b"\x9b" + b"\xff" * 8,
    "claimed map of 2^64-1": b"\xbb" + b"\xff" * 8,
    "map of two with bytes for three items": b"\xa2\x00\x00\x01",
    "array cut": b"\x82\x00",
    "nine deep": b"\x81" * 8 + b"\x80",
    "nine deep in maps": b"\xa1\x00" * 8 + b"\xa0",
    "a million deep": b"\x81" * 1_000_000,
    "a million deep in keys": b"\xa1" * 1_000_000,
    "lone surrogate": b"\x63\xed\xa0\x80",
    "overlong UTF-8": b"\x62\xc0\x80",
    "cut UTF-8": b"\x61\xc3",
    "beyond Unicode": b"\x64\xf4\x90\x80\x80",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_are_refused_as_not_canonical(data):
    with pytest.raises(CodecError, match="not canonical") as caught:
        decode(data)
    assert (caught.value.code, caught.value.fault) == ("canon", "relay")


class _Counted(bytes):
    """Bytes that count how much of them was read, slices included."""

    read = 0

    def __getitem__(self, at):
        got = super().__getitem__(at)
        type(self).read += len(got) if isinstance(at, slice) else 1
        return got


@pytest.mark.parametrize("shape", ["numbers", "arrays", "map", "one string", "deep"])
def test_work_is_linear_in_what_came(shape):
    def read(size):
        value = {
            "numbers": list(range(size)),
            "arrays": [[]] * size,
            "map": dict.fromkeys(range(size), b"x"),
            "one string": b"x" * size,
            "deep": [[[[[[[b"x" * size]]]]]]],
        }[shape]
        raw = _Counted(encode(value))
        _Counted.read = 0
        decode(raw)
        return _Counted.read / len(raw)

    assert read(20_000) <= 1.5 * read(1_000)


@pytest.mark.parametrize("head", [b"\x9b", b"\xbb", b"\x5b", b"\x7b"])
def test_a_claim_that_cannot_be_kept_is_refused_before_its_items_are_read(head):
    raw = _Counted(head + (2**16).to_bytes(8, "big") + bytes(10_000))
    _Counted.read = 0
    with pytest.raises(CodecError):
        decode(raw)
    assert _Counted.read < 32


@pytest.mark.parametrize("shape", ["zeros", "lists", "map", "lists of lists"])
def test_a_million_small_things_are_refused_before_most_of_them_are_read(shape):
    million = {
        "zeros": b"\x9a" + (10**6).to_bytes(4, "big") + bytes(10**6),
        "lists": b"\x9a" + (10**6).to_bytes(4, "big") + b"\x80" * 10**6,
        "map": b"\xba" + (4 * 10**5).to_bytes(4, "big") + bytes(10**6),
        "lists of lists": encode([[0] * 1_000] * 1_000),
    }[shape]
    raw = _Counted(million)
    _Counted.read = 0
    with pytest.raises(CodecError, match=f"more than {codec.ITEMS_MAX} items"):
        decode(raw)
    assert _Counted.read < 2 * codec.ITEMS_MAX


def test_as_many_items_as_may_be_are_read():
    most = [0] * (codec.ITEMS_MAX - 1)
    assert decode(encode([most])) == [most]


UNSAYABLE = {
    "float": 1.0,
    "NaN": math.nan,
    "tuple": (1, 2),
    "set": {1},
    "bytearray": bytearray(b"a"),
    "text as key": {"a": 1},
    "true as key": {True: 1},
    "2^64": 2**64,
    "-2^64-1": -(2**64) - 1,
    "lone surrogate": "\ud800",
    "lone surrogate inside": [{1: "\udfff"}],
    "nine deep": [[[[[[[[[]]]]]]]]],
    "nine deep in maps": {0: {0: {0: {0: {0: {0: {0: {0: {}}}}}}}}},
    "an int of another kind": type("Int", (int,), {})(1),
}


@pytest.mark.parametrize("value", UNSAYABLE.values(), ids=UNSAYABLE.keys())
def test_what_is_outside_the_subset_is_not_written(value):
    with pytest.raises(CodecError):
        encode(value)


def test_a_value_that_holds_itself_is_not_written():
    loop = []
    loop.append(loop)
    with pytest.raises(CodecError, match="nested deeper"):
        encode(loop)


@given(st.floats(-1e6, 1e6))
def test_a_real_comes_back_within_half_a_unit(number):
    assert abs(real(fixed(number)) - number) <= 0.5e-6 + 1e-12


@given(st.integers(-(10**15), 10**15))
def test_a_fixed_point_real_comes_back_exactly(number):
    assert fixed(real(number)) == number


@pytest.mark.parametrize(
    ("number", "unit"), [(0.5e-6, 0), (1.5e-6, 2), (2.5e-6, 2), (-1.0, -(10**6))]
)
def test_a_tie_goes_to_the_even_unit(number, unit):
    assert fixed(number) == unit


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1.1e12, -1.1e12])
def test_what_is_no_finite_real_has_no_fixed_point(number):
    with pytest.raises(CodecError):
        codec.fixed(number)
