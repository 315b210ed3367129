"""A link against frames that no honest peer sends, without any network."""

import asyncio

import pytest

from hivelearn.errors import PeerError, UsageError
from hivelearn.identity import full_name
from hivelearn.swarm.fabric import FRAME_MAX_BYTES, StreamReset
from hivelearn.swarm.fabrics import lan_gate, lan_keys, link
from hivelearn.swarm.fabrics.channel import WINDOW_BYTES
from hivelearn.swarm.fabrics.lan_address import Address, parse
from hivelearn.swarm.fabrics.lan_discovery import read_entry
from hivelearn.swarm.limits import Bucket

PEER = b"p" * 32


class Owner:
    """Remembers what a link tells its fabric."""

    def __init__(self):
        self.channels, self.posts, self.lost = [], [], 0

    def opened(self, _link, channel, protocol):
        self.channels.append((channel, protocol))

    def posted(self, _link, tag, data):
        self.posts.append((tag, data))

    def gone(self, _link):
        self.lost += 1


def make():
    sent, owner = [], Owner()
    wire = link.Wire(lambda head, body: sent.append((*link.HEAD.unpack(head), body)), list, b"salt")
    line = link.Link(PEER, wire, dialled=True, now=0.0)
    line.attach(owner)
    return line, owner, sent


def feed(line, kind, number=0, body=b""):
    line.receive(link.HEAD.pack(kind, number), body, 1.0)


CLOSING = {
    "short head": (b"\1", b""),
    "oversize body": (link.HEAD.pack(link.DATA, 1), bytes(FRAME_MAX_BYTES + 1)),
    "credit that is no number": (link.HEAD.pack(link.CREDIT, 1), b"abc"),
    "half a tag": (link.HEAD.pack(link.TAGS, 0), bytes(33)),
    "too many tags": (link.HEAD.pack(link.TAGS, 0), bytes(32 * (link.TAGS_MAX + 1))),
    "post without a tag": (link.HEAD.pack(link.POST, 0), bytes(31)),
    "post too long": (link.HEAD.pack(link.POST, 0), bytes(33 + 64 * 1024)),
    "goodbye": (link.HEAD.pack(link.BYE, 0), b""),
}


@pytest.mark.parametrize(("head", "body"), CLOSING.values(), ids=CLOSING.keys())
def test_a_frame_against_the_rules_closes_the_link_once(head, body):
    line, owner, _ = make()
    for _ in range(2):
        line.receive(head, body, 1.0)
    assert (line.up, owner.lost) == (False, 1)
    with pytest.raises(PeerError):
        line.open("x")


def test_a_frame_of_a_later_version_is_ignored():
    line, owner, sent = make()
    feed(line, 77, 5, b"later")
    assert line.up
    assert (owner.channels, sent) == ([], [])


REFUSED_OPENS = {
    "our own number": (1, b"p"),
    "protocol too long": (2, bytes(link.PROTOCOL_MAX + 1)),
    "protocol no ascii": (2, b"\xff"),
}


@pytest.mark.parametrize(("number", "protocol"), REFUSED_OPENS.values(), ids=REFUSED_OPENS.keys())
def test_an_unusable_open_is_reset(number, protocol):
    line, owner, sent = make()
    feed(line, link.OPEN, number, protocol)
    assert sent == [(link.RESET, number, b"")]
    assert not owner.channels


def test_streams_of_one_peer_are_bounded():
    line, owner, sent = make()
    for i in range(link.STREAMS_MAX + 5):
        feed(line, link.OPEN, 2 + 2 * i, b"p")
    assert len(owner.channels) == link.STREAMS_MAX
    assert [kind for kind, _, _ in sent] == [link.RESET] * 5


def test_a_writer_beyond_its_credit_is_reset_and_its_bytes_are_freed():
    line, owner, sent = make()
    feed(line, link.OPEN, 2, b"p")
    for _ in range(12):  # 3 MiB into a window of one
        feed(line, link.DATA, 2, bytes(256 * 1024))
    assert (link.RESET, 2, b"") in sent
    channel, _ = owner.channels[0]
    assert not channel._inbox


def test_empty_frames_are_not_free():
    line, _, sent = make()
    feed(line, link.OPEN, 2, b"p")
    for _ in range(40_000):
        feed(line, link.DATA, 2)
    assert (link.RESET, 2, b"") in sent


def test_data_after_the_end_and_for_nobody():
    line, _, sent = make()
    feed(line, link.DATA, 8, b"for nobody")
    assert not sent
    feed(line, link.OPEN, 2, b"p")
    feed(line, link.END, 2)
    feed(line, link.DATA, 2, b"after the end")
    assert (link.RESET, 2, b"") in sent


def test_credit_without_end_grants_no_more_than_a_window():
    async def main():
        line, _, _ = make()
        channel = line.open("p")
        for _ in range(100):
            feed(line, link.CREDIT, 1, link.CREDIT_BODY.pack(2**32 - 1))
        assert channel._credit == WINDOW_BYTES
        await channel.close()
        with pytest.raises(StreamReset, match="ended"):
            await channel.send(b"after our end")

    asyncio.run(main())


def test_posts_to_a_peer_that_reads_none_are_dropped_and_counted():
    line, _, sent = make()
    for _ in range(link.POSTS_UNREAD_MAX + 7):
        line.post(bytes(32), b"news")
    assert len(sent) == link.POSTS_UNREAD_MAX
    assert line.posts_dropped == 7
    feed(line, link.CREDIT, 0, link.CREDIT_BODY.pack(1))
    line.post(bytes(32), b"news")
    assert len(sent) == link.POSTS_UNREAD_MAX + 1


# -- who is at the other end --------------------------------------------------

ALICE, BOB, EVE = (lan_keys.DeviceKeys.of(name * 32) for name in (b"a", b"b", b"e"))
NONCE = b"n" * 32
HELLO = lan_keys.make_hello(ALICE, NONCE, BOB.curve)


def test_a_hello_proves_the_device_key_of_this_connection():
    assert lan_keys.read_hello(HELLO, ALICE.curve, BOB.curve) == (ALICE.device, NONCE)
    assert lan_keys.curve_of(ALICE.device) == ALICE.curve


HELLOS = {
    "replayed over another connection": (HELLO, EVE.curve, BOB.curve),
    "passed on to somebody else": (HELLO, ALICE.curve, EVE.curve),
    "tampered": (HELLO[:-1] + bytes([HELLO[-1] ^ 1]), ALICE.curve, BOB.curve),
    "of the wrong form": (b"\x81\x01", ALICE.curve, BOB.curve),
    "not canonical": (b"\xff", ALICE.curve, BOB.curve),
    "too long": (bytes(1_000), ALICE.curve, BOB.curve),
    "short parts": (b"\xa3\x01\x41a\x02\x41b\x03\x41c", ALICE.curve, BOB.curve),
}


@pytest.mark.parametrize(("hello", "theirs", "ours"), HELLOS.values(), ids=HELLOS.keys())
def test_a_hello_that_proves_nothing_is_refused(hello, theirs, ours):
    with pytest.raises(PeerError):
        lan_keys.read_hello(hello, theirs, ours)


def test_no_secret_is_printed_and_no_key_is_made_up():
    assert ALICE.curve_secret.hex() not in repr(ALICE)
    with pytest.raises(lan_keys.HelloError):
        lan_keys.curve_of(bytes(32))
    with pytest.raises(lan_keys.HelloError):
        lan_keys.curve_of(b"short")


def test_addresses_read_back_as_they_are_written():
    for address in (
        Address("192.168.1.5", 4747),
        Address("::1", 1, ALICE.device),
        Address("box.local", 65_535, BOB.device),
    ):
        assert parse(str(address)) == address
    assert parse(" 0.0.0.0:0 ", listening=True) == Address("0.0.0.0", 0)
    assert Address("::1", 5).endpoint == "tcp://[::1]:5"


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":5", "host:0", "host:65536", "host:-1", "host:5x", "ho st:5", "*:5",
     "host:٣", "hl1short@host:5", "host:99999999999999999999"],
)  # fmt: skip
def test_what_is_no_address_is_the_callers_to_fix(text):
    with pytest.raises(UsageError):
        parse(text)


def test_a_listening_address_has_no_key():
    with pytest.raises(UsageError):
        parse(f"{full_name(ALICE.device)}@host:5", listening=True)


ENTRIES = {
    "good": ({b"k": ALICE.device.hex().encode()}, 5, [Address("h", 5, ALICE.device)]),
    "no key": ({}, 5, []),
    "no port": ({b"k": ALICE.device.hex().encode()}, None, []),
    "empty key": ({b"k": None}, 5, []),
    "key not hex": ({b"k": b"zz" * 32}, 5, []),
    "key not text": ({b"k": b"\xff" * 64}, 5, []),
    "short key": ({b"k": b"aa"}, 5, []),
}


@pytest.mark.parametrize(("properties", "port", "found"), ENTRIES.values(), ids=ENTRIES.keys())
def test_an_entry_of_the_network_is_read_or_ignored(properties, port, found):
    assert read_entry(["h"], port, properties) == found


def test_the_gate_names_the_key_and_paces_handshakes():
    request = [b"1.0", b"7", b"", b"127.0.0.1", b"", b"CURVE", ALICE.curve]
    bucket = Bucket(rate=1.0, burst=1.0, tokens=1.0, at=0.0)
    assert lan_gate.judge(request, bucket, 0.0)[1:5] == [
        b"7", b"200", b"OK", ALICE.curve.hex().encode(),
    ]  # fmt: skip
    assert lan_gate.judge(request, bucket, 0.0)[2] == b"300"
    plain = [*request[:5], b"PLAIN", b"user"]
    for refused in (plain, request[:3], []):
        assert lan_gate.judge(refused, bucket, 9.0)[2] == b"400"
