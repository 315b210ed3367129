"""A link against frames that no honest peer sends, without any network."""

import asyncio

import pytest

from hivelearn.errors import PeerError
from hivelearn.swarm.fabric import FRAME_MAX_BYTES, PROTOCOL_MAX, StreamReset
from hivelearn.swarm.fabrics import link
from hivelearn.swarm.fabrics.channel import WINDOW_BYTES
from hivelearn.swarm.fabrics.frames import AMOUNT, HEAD, FrameKind
from hivelearn.swarm.topics import TAGS_MAX

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

    def shares(self, _link):
        return False


def make():
    sent, owner = [], Owner()
    raw = link.RawConnection(
        lambda head, body: sent.append((*HEAD.unpack(head), body)), list, b"salt"
    )
    line = link.Link(PEER, raw, dialled=True, now=0.0)
    line.attach(owner)
    return line, owner, sent


def feed(line, kind, number=0, body=b""):
    line.receive(HEAD.pack(kind, number), body, 1.0)


CLOSING = {
    "short head": (b"\1", b""),
    "oversize body": (HEAD.pack(FrameKind.DATA, 1), bytes(FRAME_MAX_BYTES + 1)),
    "credit that is no number": (HEAD.pack(FrameKind.CREDIT, 1), b"abc"),
    "half a tag": (HEAD.pack(FrameKind.TAGS, 0), bytes(33)),
    "too many tags": (HEAD.pack(FrameKind.TAGS, 0), bytes(32 * (TAGS_MAX + 1))),
    "post without a tag": (HEAD.pack(FrameKind.POST, 0), bytes(31)),
    "post too long": (HEAD.pack(FrameKind.POST, 0), bytes(33 + 64 * 1024)),
    "goodbye": (HEAD.pack(FrameKind.BYE, 0), b""),
    "a stream with a number of ours": (HEAD.pack(FrameKind.OPEN, 1), b"p"),
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
    "protocol too long": (2, bytes(PROTOCOL_MAX + 1)),
    "protocol no ascii": (2, b"\xff"),
}


@pytest.mark.parametrize(("number", "protocol"), REFUSED_OPENS.values(), ids=REFUSED_OPENS.keys())
def test_an_unusable_open_is_reset(number, protocol):
    line, owner, sent = make()
    feed(line, FrameKind.OPEN, number, protocol)
    assert sent == [(FrameKind.RESET, number, b"")]
    assert not owner.channels


def test_a_stream_number_in_use_closes_the_link():
    line, owner, _ = make()
    for _ in range(2):
        feed(line, FrameKind.OPEN, 2, b"p")
    assert (line.up, owner.lost) == (False, 1)


def test_streams_of_one_peer_are_bounded():
    line, owner, sent = make()
    for i in range(link.STREAMS_MAX + 5):
        feed(line, FrameKind.OPEN, 2 + 2 * i, b"p")
    assert len(owner.channels) == link.STREAMS_MAX
    assert [kind for kind, _, _ in sent] == [FrameKind.RESET] * 5


def test_a_writer_beyond_its_credit_is_reset_and_its_bytes_are_freed():
    line, owner, sent = make()
    feed(line, FrameKind.OPEN, 2, b"p")
    for _ in range(12):  # 3 MiB into a window of one
        feed(line, FrameKind.DATA, 2, bytes(256 * 1024))
    assert (FrameKind.RESET, 2, b"") in sent
    channel, _ = owner.channels[0]
    assert channel.unread == 0


def test_empty_frames_are_not_free():
    line, _, sent = make()
    feed(line, FrameKind.OPEN, 2, b"p")
    for _ in range(40_000):
        feed(line, FrameKind.DATA, 2)
    assert (FrameKind.RESET, 2, b"") in sent


def test_data_after_the_end_and_for_nobody():
    line, _, sent = make()
    feed(line, FrameKind.DATA, 8, b"for nobody")
    assert not sent
    feed(line, FrameKind.OPEN, 2, b"p")
    feed(line, FrameKind.END, 2)
    feed(line, FrameKind.DATA, 2, b"after the end")
    assert (FrameKind.RESET, 2, b"") in sent


def test_credit_without_end_grants_no_more_than_a_window():
    async def main():
        line, _, _ = make()
        channel = line.open("p")
        for _ in range(100):
            feed(line, FrameKind.CREDIT, 1, AMOUNT.pack(2**32 - 1))
        block = bytes(WINDOW_BYTES // 4)
        for _ in range(4):
            await channel.send(block, timeout_s=0.05)
        with pytest.raises(StreamReset, match="took nothing"):
            await channel.send(b"one more", timeout_s=0.05)
        channel = line.open("p")
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
    feed(line, FrameKind.CREDIT, 0, AMOUNT.pack(1))
    line.post(bytes(32), b"news")
    assert len(sent) == link.POSTS_UNREAD_MAX + 1


def test_streams_that_are_opened_without_end_are_reset_before_anybody_serves_them():
    line, owner, sent = make()
    for number in range(2, 20_000, 2):
        feed(line, FrameKind.OPEN, number, b"p")
        feed(line, FrameKind.RESET, number)
    assert len(owner.channels) == link.OPENS_BURST
    assert sum(kind == FrameKind.RESET for kind, _, _ in sent) == 9_999 - link.OPENS_BURST
    line.receive(HEAD.pack(FrameKind.OPEN, 30_000), b"p", 2.0)
    assert len(owner.channels) == link.OPENS_BURST + 1, "a second later it may again"
