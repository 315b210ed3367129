"""One verified connection to one peer, carrying many streams and posts. Without I/O.

A transport hands in frames with :meth:`Link.receive` and takes frames through
``connection.transmit``; memory and lan differ in nothing else. Back pressure is by
credit: a writer may have ``WINDOW_BYTES`` unread at the reader of each stream,
so a slow reader costs bounded memory and delays nobody but itself.

The side that dialled opens odd channels, the other one even ones (``frames``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from hivelearn.swarm.fabric import FRAME_MAX_BYTES, POST_MAX_BYTES, PROTOCOL_MAX, UnreachableError
from hivelearn.swarm.fabrics import frames
from hivelearn.swarm.fabrics.channel import Channel
from hivelearn.swarm.fabrics.frames import AMOUNT, HEAD, FrameKind
from hivelearn.swarm.limits import TokenBucket
from hivelearn.swarm.topics import TAG_BYTES, TAGS_MAX

STREAMS_MAX: Final = 64  # that the other side may have open towards us
POSTS_UNREAD_MAX: Final = 64  # posts on their way to one peer; more are dropped
# A stream that is opened costs a task and a handler (100 µs), and opening one costs the peer
# twenty bytes. Pipelines that open one for each request stay below.
OPENS_PER_S: Final = 200.0
OPENS_BURST: Final = 512.0


class LinkOwner(Protocol):
    """The fabric that a link belongs to."""

    def opened(self, link: "Link", channel: Channel, protocol: str) -> None:
        """Serve a stream that the peer opened."""

    def posted(self, link: "Link", tag: bytes, data: bytes) -> None:
        """Take a post that the peer sent."""

    def gone(self, link: "Link") -> None:
        """Forget the link."""

    def shares(self, link: "Link") -> bool:
        """Return whether the peer has shown a topic that is also ours."""


@dataclass(slots=True)
class RawConnection:
    """What a link knows of its transport."""

    transmit: Callable[[bytes, bytes], None]  # never blocks, never raises
    hang_up: Callable[[], None]  # close the connection below
    salt: bytes  # of this session, for topic tags
    address: str = ""
    unsent: Callable[[], int] = lambda: 0  # bytes that wait for the peer to read


class Link:
    """See the module; made by a transport once both sides have proved their keys."""

    def __init__(
        self, peer: bytes, connection: RawConnection, *, dialled: bool, now: float
    ) -> None:
        """Bind ``peer`` (32-byte device key) to ``connection``."""
        self.peer, self.connection, self.dialled = peer, connection, dialled
        self.heard_at = now
        self.bytes_in = self.bytes_out = self.posts_dropped = 0
        self.shown: frozenset[bytes] = frozenset()  # tags that the peer showed
        self.up = False
        self._owner: LinkOwner | None = None
        self._channels: dict[int, Channel] = {}
        self._next = 1 if dialled else 2
        self._post_credit = POSTS_UNREAD_MAX
        self._posts_read = 0
        self._opens = TokenBucket(OPENS_PER_S, OPENS_BURST, OPENS_BURST, now)

    def attach(self, owner: LinkOwner) -> None:
        """Begin to deliver to ``owner``."""
        self._owner, self.up = owner, True

    @property
    def useful(self) -> bool:
        """Whether it joins two who share a topic."""
        return self._owner is not None and self._owner.shares(self)

    @property
    def held(self) -> int:
        """Bytes of memory that lie here because of the peer: unread and unsent ones."""
        return self.connection.unsent() + sum(one.unread for one in self._channels.values())

    # -- towards the peer -------------------------------------------------

    def transmit(self, kind: FrameKind, number: int = 0, body: bytes = b"") -> None:
        """Send one frame, unless the link is down."""
        if self.up:
            self.bytes_out += len(body)
            self.connection.transmit(frames.head(kind, number), body)

    def open(self, protocol: str) -> Channel:
        """Open a stream.

        Raises:
            UnreachableError: the link is down.
        """
        if not self.up:
            raise UnreachableError("the connection is closed")
        number, self._next = self._next, self._next + 2
        channel = self._channels[number] = Channel(number, self)
        self.transmit(FrameKind.OPEN, number, protocol.encode())
        return channel

    def post(self, tag: bytes, data: bytes) -> None:
        """Send a post, or drop and count it while the peer reads too slowly."""
        if self._post_credit <= 0:
            self.posts_dropped += 1
            return
        self._post_credit -= 1
        self.transmit(FrameKind.POST, 0, tag + data)

    def show(self, tags: list[bytes]) -> None:
        """Tell the peer our topics, as tags of this session."""
        self.transmit(FrameKind.TAGS, 0, b"".join(tags[:TAGS_MAX]))

    def ping(self) -> None:
        """Let the peer hear that we live."""
        self.transmit(FrameKind.PING)

    def forget(self, number: int) -> None:
        """Free a channel that ended on both sides."""
        self._channels.pop(number, None)

    def close(self, *, goodbye: bool = True) -> None:
        """Reset every stream and hang up. May be called twice."""
        if not self.up:
            return
        if goodbye:
            self.transmit(FrameKind.BYE)
        self.up = False
        for channel in list(self._channels.values()):
            channel.reset("the connection was lost")
        self._channels.clear()
        self.connection.hang_up()
        if self._owner is not None:
            self._owner.gone(self)

    # -- from the peer ----------------------------------------------------

    def receive(self, head: bytes, body: bytes, now: float) -> None:
        """Take one frame. A frame that breaks the rules closes the link."""
        if not self.up:
            return
        self.heard_at = now
        self.bytes_in += len(body)
        if len(head) != HEAD.size or len(body) > FRAME_MAX_BYTES:
            self.close()
            return
        kind, number = HEAD.unpack(head)
        match kind:
            case FrameKind.OPEN:
                self._accept(number, body, now)
            case FrameKind.DATA | FrameKind.END | FrameKind.RESET:
                self._to_channel(kind, number, body)
            case FrameKind.CREDIT:
                self._credited(number, body)
            case FrameKind.TAGS:
                self._shown(body)
            case FrameKind.POST:
                self._posted(body)
            case FrameKind.BYE:
                self.close(goodbye=False)
            case _:  # PING, and whatever a later version may say
                pass

    def _accept(self, number: int, body: bytes, now: float) -> None:
        theirs = number % 2 == (0 if self.dialled else 1)
        if not theirs or number in self._channels or self._owner is None:
            self.close()
            return
        open_now = sum(one % 2 == number % 2 for one in self._channels)
        misnamed = len(body) > PROTOCOL_MAX or not body.isascii()
        if misnamed or open_now >= STREAMS_MAX or not self._opens.take(now):
            # May be honest: of a later version, or sent before our reset of another came.
            self.transmit(FrameKind.RESET, number)
            return
        channel = self._channels[number] = Channel(number, self)
        self._owner.opened(self, channel, body.decode("ascii"))

    def _to_channel(self, kind: int, number: int, body: bytes) -> None:
        channel = self._channels.get(number)
        if channel is None:
            return  # it crossed our reset on the way
        if kind == FrameKind.DATA:
            channel.take(body)
        elif kind == FrameKind.END:
            channel.ended()
        else:
            channel.reset("the peer reset the stream")

    def _credited(self, number: int, body: bytes) -> None:
        if len(body) != AMOUNT.size:
            self.close()
            return
        (amount,) = AMOUNT.unpack(body)
        if number == 0:
            self._post_credit = min(POSTS_UNREAD_MAX, self._post_credit + amount)
        elif (channel := self._channels.get(number)) is not None:
            channel.credited(amount)

    def _shown(self, body: bytes) -> None:
        if len(body) % TAG_BYTES or len(body) > TAGS_MAX * TAG_BYTES:
            self.close()
            return
        self.shown = frozenset(
            body[start : start + TAG_BYTES] for start in range(0, len(body), TAG_BYTES)
        )

    def _posted(self, body: bytes) -> None:
        if not TAG_BYTES <= len(body) <= TAG_BYTES + POST_MAX_BYTES or self._owner is None:
            self.close()
            return
        self._owner.posted(self, body[:TAG_BYTES], body[TAG_BYTES:])
        self._posts_read += 1
        if self._posts_read >= POSTS_UNREAD_MAX // 4:
            self.transmit(FrameKind.CREDIT, 0, AMOUNT.pack(self._posts_read))
            self._posts_read = 0
