"""Canonical bytes: one meaning, one encoding.

The subset of deterministic CBOR (RFC 8949 §4.2) that every byte defined by
hivelearn is written in: integers, byte strings, text, arrays, maps with integer
keys, true, false and null. No floats (reals are integers in units of 1e-6), no
tags, no indefinite lengths, no duplicate keys. What decodes also re-encodes to
the same bytes, or it is refused; so a signature over bytes is a signature over
their meaning.

Ours, and not a CBOR library's, because general decoders act on what they read:
they compile regular expressions (tag 35), build cycles (tags 28, 29) and big
decimals (tag 4) before the caller sees a value.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

from hivelearn.errors import PeerError

Value: TypeAlias = "int | bytes | str | bool | list[Value] | dict[int, Value] | None"

DEPTH_MAX: Final = 8
ITEMS_MAX: Final = 1 << 15  # of all containers together: 16,384 ids take 1 ms, a million zeros 300
CRITICAL_KEYS: Final = 64  # in signed maps: unknown keys below are refused, others ignored
UNIT: Final = 1_000_000  # fixed-point reals: one is 1e-6
REAL_MAX: Final = 1e12
_INT_MAX: Final = 2**64 - 1

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _SIMPLE = 0, 1, 2, 3, 4, 5, 7
_CONSTANTS: dict[int, bool | None] = {20: False, 21: True, 22: None}


class CodecError(PeerError):
    """Bytes that are not canonical; whoever delivered them made or broke them."""

    code = "canon"

    def __init__(self, what: str) -> None:
        super().__init__(f"not canonical: {what}")


def ignorable(keys: Iterable[object]) -> bool:
    """Return whether all these unknown keys of a signed map belong to later versions."""
    return all(type(key) is int and key >= CRITICAL_KEYS for key in keys)


def fixed(real: float) -> int:
    """Return ``real`` in units of 1e-6, rounded to nearest, ties to even.

    Raises:
        CodecError: not finite, or beyond ±1e12.
    """
    if not -REAL_MAX <= real <= REAL_MAX:  # NaN fails this too
        raise CodecError(f"{real} does not fit a fixed-point real")
    return round(real * UNIT)


def real(fixed_point: int) -> float:
    """Return the real number that :func:`fixed` wrote."""
    return fixed_point / UNIT


def encode(value: Value) -> bytes:
    """Return the one encoding of ``value``.

    Raises:
        CodecError: a type, size or depth outside the subset.
    """
    out = bytearray()
    _write(value, out, DEPTH_MAX)
    return bytes(out)


def _write(value: Value, out: bytearray, depth: int) -> None:
    if value is None or value is True or value is False:
        out.append(0xF6 if value is None else 0xF5 if value else 0xF4)
    elif type(value) is int:
        if not -_INT_MAX - 1 <= value <= _INT_MAX:
            raise CodecError("integer beyond 64 bits")
        _head(_UNSIGNED if value >= 0 else _NEGATIVE, value if value >= 0 else -1 - value, out)
    elif type(value) is bytes:
        _head(_BYTES, len(value), out)
        out += value
    elif type(value) is str:
        raw = _utf8(value)
        _head(_TEXT, len(raw), out)
        out += raw
    elif type(value) is list or type(value) is dict:
        _write_container(value, out, depth)
    else:
        raise CodecError(f"{type(value).__name__} is outside the subset")


def _write_container(value: "list[Value] | dict[int, Value]", out: bytearray, depth: int) -> None:
    if depth == 0:
        raise CodecError(f"nested deeper than {DEPTH_MAX}")
    if isinstance(value, list):
        _head(_ARRAY, len(value), out)
        for item in value:
            _write(item, out, depth - 1)
        return
    if any(type(key) is not int for key in value):
        raise CodecError("a map key is not an integer")
    _head(_MAP, len(value), out)
    for raw, item in sorted((encode(key), item) for key, item in value.items()):
        out += raw  # bytewise order of the encoded keys, RFC 8949 §4.2.1
        _write(item, out, depth - 1)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise CodecError("text holds a lone surrogate") from None


def _head(major: int, argument: int, out: bytearray) -> None:
    if argument < 24:  # noqa: PLR2004 - RFC 8949 §3
        out.append(major << 5 | argument)
        return
    size = max(1, 1 << ((argument.bit_length() + 7) // 8 - 1).bit_length())
    out.append(major << 5 | 23 + size.bit_length())
    out += argument.to_bytes(size, "big")


def decode(data: bytes) -> Value:
    """Return the value that ``data`` is the one encoding of.

    Work is linear in ``len(data)`` and bounded by ``ITEMS_MAX``: a claimed length is
    checked against what is left of both before anything is allocated.

    Raises:
        CodecError: whatever is wrong with it. No other error escapes.
    """
    value, end = _read(data, 0, DEPTH_MAX, [ITEMS_MAX])
    if end != len(data):
        raise CodecError(f"{len(data) - end} bytes after the end")
    return value


def _read(data: bytes, at: int, depth: int, left: list[int]) -> tuple[Value, int]:
    """Return the value that begins at ``at`` and where it ends; ``left[0]`` items may follow."""
    major, argument, at = _read_head(data, at)
    if major == _UNSIGNED:
        return argument, at
    if major == _NEGATIVE:
        return -1 - argument, at
    if major == _SIMPLE:
        if argument not in _CONSTANTS:
            raise CodecError(f"simple value {argument}")
        return _CONSTANTS[argument], at
    if major in (_BYTES, _TEXT):
        return _read_string(data, at, argument, text=major == _TEXT)
    if major in (_ARRAY, _MAP):
        return _read_container(data, at, argument, depth, left, mapping=major == _MAP)
    raise CodecError("a tag")


def _read_head(data: bytes, at: int) -> tuple[int, int, int]:
    if at >= len(data):
        raise CodecError("it ends too early")
    major, info = data[at] >> 5, data[at] & 31
    if info < 24:  # noqa: PLR2004
        return major, info, at + 1
    if info > 27 or major == _SIMPLE:  # noqa: PLR2004
        raise CodecError("an indefinite length, a float or a reserved head")
    size = 1 << (info - 24)
    raw = data[at + 1 : at + 1 + size]
    argument = int.from_bytes(raw, "big")
    if len(raw) != size or argument < (24 if size == 1 else 1 << (4 * size)):
        raise CodecError("a head that is cut or longer than needed")
    return major, argument, at + 1 + size


def _read_string(data: bytes, at: int, size: int, *, text: bool) -> tuple[Value, int]:
    if size > len(data) - at:
        raise CodecError("a string longer than what is left")
    raw = bytes(data[at : at + size])
    if not text:
        return raw, at + size
    try:
        return raw.decode(), at + size
    except UnicodeDecodeError:
        raise CodecError("text that is not UTF-8") from None


def _read_container(
    data: bytes, at: int, count: int, depth: int, left: list[int], *, mapping: bool
) -> tuple[Value, int]:
    if depth == 0:
        raise CodecError(f"nested deeper than {DEPTH_MAX}")
    if count * (1 + mapping) > len(data) - at:  # each key and item takes a byte at least
        raise CodecError("a container longer than what is left")
    left[0] -= count
    if left[0] < 0:
        raise CodecError(f"more than {ITEMS_MAX} items")
    items: list[Value] = []
    table: dict[int, Value] = {}
    last = b""
    for _ in range(count):
        if not mapping:
            item, at = _read(data, at, depth - 1, left)
            items.append(item)
            continue
        start = at
        key, at = _read(data, at, 0, left)
        if type(key) is not int or data[start:at] <= last:
            raise CodecError("map keys that are not ascending integers")
        last = data[start:at]
        table[key], at = _read(data, at, depth - 1, left)
    return (table if mapping else items), at
