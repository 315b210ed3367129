"""What a network must offer to carry a swarm; ``fabrics.table`` lists those that do.

A fabric finds peers, proves their keys and carries framed streams and small
posts. It knows nothing of patches: announcing and fetching are built on top,
once, for all fabrics. Peer ids are device keys (Ed25519, 32 bytes), so what a
fabric proves is who *relays*; who is *believed* is decided elsewhere.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hivelearn.errors import PeerError

FRAME_MAX_BYTES: Final = 1 << 20
POST_MAX_BYTES: Final = 64 * 1024
PROTOCOL_MAX: Final = 64  # characters of a protocol id, all ASCII
OPEN_S: Final = 5.0  # to open a stream, unless the caller says otherwise

OnPeer = Callable[[bytes, bool], None]  # (peer, up)


class StreamReset(PeerError):  # noqa: N818 - the name every stream library uses
    """A stream ended in any other way than cleanly: abort, loss, silence."""

    fault = "nobody"
    code = "stream.reset"
    remedy = "Nothing to do here: what was missing will be asked for again."


class UnreachableError(PeerError):
    """No verified connection to this peer exists right now."""

    fault = "nobody"
    code = "peer.unreachable"
    remedy = "Look at swarm.peers: it tells at which step each connection fails."


class Stream(Protocol):
    """An ordered, message-framed, two-way channel to one peer, with back pressure."""

    async def send(self, data: bytes, *, timeout_s: float = 30.0) -> None:
        """Send one frame (≤ 1 MiB); waits while the reader is slow.

        Raises:
            StreamReset: the stream is gone, or the reader took nothing for ``timeout_s``.
            UsageError: the frame is larger than ``FRAME_MAX_BYTES``.
        """

    async def recv(self, timeout_s: float) -> bytes | None:
        """Return the next frame, or None at the peer's clean end.

        Raises:
            StreamReset: anything else, silence of ``timeout_s`` included.
        """

    async def close(self) -> None:
        """End our direction cleanly; the other one stays readable. May be called twice."""

    def abort(self) -> None:
        """Reset both directions at once. May be called twice."""


class Subscription(Protocol):
    """A bounded queue of posts in one topic; what does not fit is dropped and counted."""

    dropped: int

    async def get(self) -> tuple[bytes, bytes]:
        """Return the next (peer, data)."""

    def close(self) -> None:
        """Stop listening."""


Handler = Callable[[bytes, Stream], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PeerView:
    """How far the connection to one peer has come, and where it fails.

    Seen, reachable and verified are three different things: a name on the
    network, a machine that answers, a machine that proved its key.
    """

    key: bytes | None  # 32, None while only an address is known
    address: str  # empty where it dialled us
    seen: bool
    reachable: bool
    verified: bool
    failing: str  # the step that fails, empty when none does
    bytes_in: int = 0
    bytes_out: int = 0


class Fabric(Protocol):
    """A network, seen from one node; all methods belong to one asyncio loop."""

    key: bytes  # this node's peer id
    floods: bool  # True where publish reaches all members by itself, False: neighbours only

    @property
    def address(self) -> str:
        """What to give to others so that they can connect (``key@host:port``), or ""."""

    async def start(self) -> None:
        """Open sockets and begin to find peers."""

    async def close(self) -> None:
        """Say goodbye and free everything. May be called twice."""

    async def join(self, topic: bytes) -> None:
        """Take part in a 32-byte topic."""

    async def leave(self, topic: bytes) -> None:
        """Stop taking part."""

    def on_peer(self, callback: OnPeer) -> None:
        """Call ``callback(peer, up)`` when a verified peer comes or goes."""

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve streams of ``protocol``; exceptions are caught here and reset the stream."""

    async def open_stream(self, peer: bytes, protocol: str, *, timeout_s: float) -> Stream:
        """Open a stream.

        Raises:
            UnreachableError: no verified connection within ``timeout_s``.
        """

    async def publish(self, topic: bytes, data: bytes) -> None:
        """Post to the neighbours in ``topic`` (≤ 64 KiB): best effort, perhaps twice."""

    def subscribe(self, topic: bytes) -> Subscription:
        """Return a queue of the posts in ``topic``."""

    async def meet(self, addresses: Sequence[str]) -> None:
        """Look for those at ``addresses``, too; a fabric without addresses does nothing.

        Raises:
            UsageError: one of them is no address.
        """

    def in_topic(self, peer: bytes, topic: bytes) -> bool:
        """Return whether ``peer`` has proved to be in ``topic`` and has not left it since.

        Callable from any thread.
        """

    def peers(self) -> frozenset[bytes]:
        """Return the keys of the verified peers that are up."""

    def views(self) -> list[PeerView]:
        """Return every peer seen, with the step that fails."""
