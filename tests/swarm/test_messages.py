"""Every frame means one thing, or it is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn import codec
from hivelearn.patch.chunks import CHUNK_BYTES
from hivelearn.swarm import messages as m
from hivelearn.swarm.fabric import FRAME_MAX_BYTES

ID = b"i" * 32
IDS = tuple(number.to_bytes(32, "big") for number in range(m.HEADS_MAX + 1))
GOOD = [
    m.Announce(b"e", held=True),
    m.Have(ID),
    m.Domains(("roman", "iso-date")),
    m.Greeting(ID),
    m.AskHeads(IDS[: m.TAGS_MAX]),
    m.Heads(ID, ()),
    m.Heads(ID, IDS[: m.HEADS_MAX]),
    m.Want(IDS[: m.WANTS_MAX]),
    m.Done(),
    m.Fetch(ID),
    m.Leaves(b"l" * 32 * m.LEAVES_MAX),
    m.Absent(),
    m.AskChunk(0),
    m.Chunk(m.LEAVES_MAX - 1, bytes(CHUNK_BYTES)),
]
HOSTILE = {
    "nothing": b"",
    "truncated": m.encode(m.Have(ID))[:-1],
    "trailing bytes": m.encode(m.Have(ID)) + b"\0",
    "no map": codec.encode([1]),
    "no kind": codec.encode({1: ID}),
    "true as kind": codec.encode({0: True, 1: ID}),
    "unknown critical key": codec.encode({0: 2, 1: ID, 2: 1}),
    "negative key": codec.encode({0: 2, 1: ID, -1: 1}),
    "missing field": codec.encode({0: 13, 1: 1}),
    "announce of nothing": codec.encode({0: 1, 1: b"", 2: True}),
    "announce of 64 KiB and one": codec.encode({0: 1, 1: bytes(65_537), 2: True}),
    "held is 1": codec.encode({0: 1, 1: b"e", 2: 1}),
    "short id": codec.encode({0: 2, 1: ID[1:]}),
    "text as id": codec.encode({0: 2, 1: "i" * 32}),
    "a domain with a slash": codec.encode({0: 3, 1: ["../etc"]}),
    "a number as domain": codec.encode({0: 3, 1: [1]}),
    "too many domains": codec.encode({0: 3, 1: ["a"] * (m.NAMES_MAX + 1)}),
    "short nonce": codec.encode({0: 4, 1: b"n"}),
    "too many tags": codec.encode({0: 5, 1: [*IDS[: m.TAGS_MAX + 1]]}),
    "tags that are no list": codec.encode({0: 5, 1: ID}),
    "heads of a short tag": codec.encode({0: 6, 1: b"t", 2: []}),
    "too many heads": codec.encode({0: 6, 1: ID, 2: [*IDS[: m.HEADS_MAX + 1]]}),
    "ten thousand wants": codec.encode({0: 7, 1: [*IDS[:10_000]]}),
    "one tag twice": codec.encode({0: 5, 1: [ID, ID]}),
    "one head twice": codec.encode({0: 6, 1: ID, 2: [ID, ID]}),
    "one want twice": codec.encode({0: 7, 1: [ID, ID]}),
    "a million zeros": codec.encode({0: 3, 1: [0] * 1_000_000}),
    "a million lists in a later kind": codec.encode({0: 99, 1: [[]] * 1_000_000}),
    "fetch of nothing": codec.encode({0: 9, 1: b""}),
    "half a leaf": codec.encode({0: 10, 1: bytes(33)}),
    "too many leaves": codec.encode({0: 10, 1: bytes(32 * (m.LEAVES_MAX + 1))}),
    "leaves as text": codec.encode({0: 10, 1: "l" * 32}),
    "true as index": codec.encode({0: 12, 1: True}),
    "index beyond the largest payload": codec.encode({0: 12, 1: m.LEAVES_MAX}),
    "negative index": codec.encode({0: 13, 1: -1, 2: b"x"}),
    "empty chunk": codec.encode({0: 13, 1: 0, 2: b""}),
    "chunk too long": codec.encode({0: 13, 1: 0, 2: bytes(CHUNK_BYTES + 1)}),
    "frame too long": bytes(FRAME_MAX_BYTES + 1),
}


@pytest.mark.parametrize("message", GOOD, ids=lambda one: type(one).__name__)
def test_what_is_encoded_decodes_to_itself(message):
    frame = m.encode(message)
    assert m.decode(frame) == message
    assert len(frame) <= FRAME_MAX_BYTES


@pytest.mark.parametrize("frame", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_frame_is_refused_as_malformed(frame):
    with pytest.raises(m.MalformedMessageError) as caught:
        m.decode(frame)
    assert caught.value.fault == "relay"


@given(st.binary(max_size=200))
def test_no_other_error_escapes(frame):
    try:
        message = m.decode(frame)
    except m.MalformedMessageError:
        return
    assert message is None or m.encode(message) == frame


def test_a_later_kind_is_nobodys_fault_and_a_later_key_is_ignored():
    assert m.decode(codec.encode({0: 99, 1: "whatever"})) is None
    assert m.decode(codec.encode({0: 2, 1: ID, 64: "later"})) == m.Have(ID)
