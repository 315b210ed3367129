"""Nodes of one process, joined without sockets: tests, notebooks, simulation.

Each node may run its own loop in its own thread, so frames cross loops. The
network asks its ``delay`` function about every frame, which is where a test
kit puts latency, loss and partitions; links are reliable and in order, like
TCP, so a lost frame of a stream is a late one, and only posts get lost.
"""

import asyncio
import contextlib
import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from nacl.signing import SigningKey

from hivelearn.errors import UsageError
from hivelearn.swarm.fabric import PeerView
from hivelearn.swarm.fabrics.frames import HEAD, FrameKind
from hivelearn.swarm.fabrics.link import Link, RawConnection
from hivelearn.swarm.fabrics.linked import LinkedFabric

REDIAL_S: Final = 1.0
# (source, target, may be lost) -> seconds on the way; None: it never arrives.
Delay = Callable[[bytes, bytes, bool], float | None]


def _at_once(_source: bytes, _target: bytes, _may_lose: bool) -> float | None:  # noqa: FBT001
    return 0.0


class MemoryNetwork:
    """Where memory fabrics find each other; thread-safe."""

    def __init__(self, delay: Delay = _at_once) -> None:
        """Begin empty; ``delay`` is asked about every frame."""
        self.delay = delay
        self._lock = threading.Lock()
        self._nodes: dict[bytes, MemoryTransport] = {}
        self._count = itertools.count()

    def add(self, transport: "MemoryTransport") -> None:
        """Add a node; a node of the same key that was here is gone."""
        with self._lock:
            self._nodes[transport.key] = transport

    def remove(self, transport: "MemoryTransport") -> None:
        """Remove a node."""
        with self._lock:
            if self._nodes.get(transport.key) is transport:
                del self._nodes[transport.key]

    def others(self, key: bytes) -> "list[MemoryTransport]":
        """Return all other nodes, in the order of their keys."""
        with self._lock:
            return [self._nodes[one] for one in sorted(self._nodes) if one != key]

    def session(self) -> bytes:
        """Return a fresh salt. Nobody outside the process is to be kept from guessing it."""
        with self._lock:
            return next(self._count).to_bytes(64, "big")


_PROCESS_WIDE: Final = MemoryNetwork()


class _LinkEnd:
    """One end of a link: delivers to the other end's loop, in order."""

    def __init__(self, transport: "MemoryTransport", peer: "MemoryTransport") -> None:
        self._transport, self._peer = transport, peer
        self.link: Link | None = None
        self.other: _LinkEnd | None = None
        self._not_before = 0.0
        self._under_way: deque[tuple[bytes, bytes]] = deque()

    def transmit(self, head: bytes, body: bytes) -> None:
        network, may_lose = self._transport.network, HEAD.unpack(head)[0] == FrameKind.POST
        delay = network.delay(self._transport.key, self._peer.key, may_lose)
        if delay is None:
            return
        self._peer.call_in_order(self, delay, head, body)

    def arrive(self) -> None:
        head, body = self._under_way.popleft()
        if self.other is not None and self.other.link is not None:
            self.other.link.receive(head, body, asyncio.get_running_loop().time())

    def schedule(self, delay: float, head: bytes, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        # Each timer takes the oldest frame, whatever frame it was set for: a loop
        # runs timers of one instant in any order, and links must not reorder.
        self._under_way.append((head, body))
        self._not_before = max(self._not_before, loop.time() + delay)
        loop.call_at(self._not_before, self.arrive)


class MemoryTransport:
    """Links to everybody in the network; see ``Transport``."""

    address = ""

    def __init__(self, key: bytes, network: MemoryNetwork) -> None:
        """Begin outside of ``network``."""
        self.key, self.network = key, network
        self._loop: asyncio.AbstractEventLoop | None = None
        self._attach: Callable[[Link], None] | None = None
        self._linked: dict[bytes, _LinkEnd] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self, attach: Callable[[Link], None]) -> None:
        """See ``Transport.start``."""
        self._loop, self._attach = asyncio.get_running_loop(), attach
        self.network.add(self)
        self._task = self._loop.create_task(self._dial_all())

    async def close(self) -> None:
        """See ``Transport.close``."""
        self.network.remove(self)
        self._attach = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def views(self) -> list[PeerView]:
        """See ``Transport.views``."""
        return [
            PeerView(one.key, "", seen=True, reachable=False, verified=False, failing="connect")
            for one in self.network.others(self.key)
            if one.key not in self._linked
        ]

    def meet(self, addresses: Sequence[str]) -> None:
        """See ``Transport.meet``: everybody in the network is met already."""

    def call_in_order(self, end: _LinkEnd, delay: float, head: bytes, body: bytes) -> None:
        """Let a frame arrive here after ``delay``; callable from any thread."""
        self._call(end.schedule, delay, head, body)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: a dead peer
                self._loop.call_soon_threadsafe(function, *arguments)

    async def _dial_all(self) -> None:
        while True:
            for other in self.network.others(self.key):
                # The smaller key dials, so that two nodes make one link.
                if self.key < other.key and other.key not in self._linked:
                    self._dial(other)
            await asyncio.sleep(REDIAL_S)

    def _dial(self, other: "MemoryTransport") -> None:
        there = self.network.delay(self.key, other.key, False)  # noqa: FBT003
        back = self.network.delay(other.key, self.key, False)  # noqa: FBT003
        if there is None or back is None:
            return
        salt = self.network.session()
        mine, theirs = _LinkEnd(self, other), _LinkEnd(other, self)
        mine.other, theirs.other = theirs, mine
        self._linked[other.key] = mine
        other._call(other._join, theirs, self, salt, False)  # noqa: SLF001, FBT003 - the same class
        self._join(mine, other, salt, True)  # noqa: FBT003

    def _join(self, end: _LinkEnd, peer: "MemoryTransport", salt: bytes, dialled: bool) -> None:  # noqa: FBT001
        if self._attach is None or self._loop is None:
            return
        self._linked[peer.key] = end

        def hang_up() -> None:
            if self._linked.get(peer.key) is end:
                del self._linked[peer.key]

        raw = RawConnection(end.transmit, hang_up, salt)
        end.link = Link(peer.key, raw, dialled=dialled, now=self._loop.time())
        self._attach(end.link)


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """Which network: all who share one meet each other."""

    network: MemoryNetwork | None = None  # None: the process-wide one

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        if not isinstance(self.network, MemoryNetwork | None):
            raise UsageError(
                f"network = {self.network!r} is not a MemoryNetwork",
                remedy="Give one, or leave it out.",
            )


def open_memory(device_seed: bytes, options: MemoryOptions) -> LinkedFabric:
    """Return a memory fabric, not yet in its network."""
    key = bytes(SigningKey(device_seed).verify_key)
    return LinkedFabric(key, MemoryTransport(key, options.network or _PROCESS_WIDE))
