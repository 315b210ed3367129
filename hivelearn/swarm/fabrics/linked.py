"""A fabric made of links: everything that memory and lan have in common.

A transport finds peers and proves keys; it hands in each verified link. Here
lie the handlers, topics, subscriptions and heartbeats, so that the contract of
``Fabric`` is kept in one place.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Final, Protocol

from hivelearn.errors import HivelearnError, UsageError
from hivelearn.swarm import topics
from hivelearn.swarm.fabric import (
    POST_MAX_BYTES,
    Handler,
    OnPeer,
    PeerView,
    UnreachableError,
)
from hivelearn.swarm.fabrics.channel import Channel
from hivelearn.swarm.fabrics.link import Link
from hivelearn.swarm.fabrics.posts import PostQueue

PING_S: Final = 3.0
DEAD_S: Final = 12.0  # of silence
HELD_MAX_BYTES: Final = 256 << 20  # of all links; beyond, the greediest are closed
TOPICS_MAX: Final = topics.TAGS_MAX  # each is shown by a tag
_log: Final = logging.getLogger("hivelearn.swarm")


class Transport(Protocol):
    """Finds peers, proves keys, makes links."""

    address: str

    async def start(self, attach: Callable[[Link], None]) -> None:
        """Open sockets; call ``attach`` for every verified link."""

    async def close(self) -> None:
        """Free everything. May be called twice."""

    def views(self) -> list[PeerView]:
        """Return the peers that are seen but have no link."""

    def meet(self, addresses: Sequence[str]) -> None:
        """Look for those at ``addresses``, too. Raises UsageError for what is none."""


class LinkedFabric:
    """See the module."""

    floods = False

    def __init__(
        self, key: bytes, transport: Transport, *, held_max_bytes: int = HELD_MAX_BYTES
    ) -> None:
        """Begin closed; ``key`` is this node's device key, 32 bytes."""
        self.key, self._held_max_bytes = key, held_max_bytes
        self._transport = transport
        self._links: dict[bytes, list[Link]] = {}
        self._topics: set[bytes] = set()
        self._tags: dict[Link, dict[bytes, bytes]] = {}  # what each peer calls our topics
        self._handlers: dict[str, Handler] = {}
        self._callbacks: list[OnPeer] = []
        self._subscriptions: dict[bytes, list[PostQueue]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._came = asyncio.Event()  # a link was attached
        self._open = False

    @property
    def address(self) -> str:
        """See ``Fabric.address``."""
        return self._transport.address

    async def start(self) -> None:
        """See ``Fabric.start``."""
        self._open = True
        await self._transport.start(self._attach)
        self._spawn(self._beat())

    async def close(self) -> None:
        """See ``Fabric.close``."""
        self._open = False
        for link in self._all():
            link.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._transport.close()

    # -- topics and posts -------------------------------------------------

    async def join(self, topic: bytes) -> None:
        """See ``Fabric.join``."""
        if len(topic) != topics.TOPIC_BYTES or len(self._topics) >= TOPICS_MAX:
            raise UsageError(
                f"no 32-byte topic, or more than {TOPICS_MAX} of them",
                remedy="Make the id with hivelearn.swarm.topics.topic and leave what is unused.",
            )
        self._topics.add(topic)
        self._show_all()

    async def leave(self, topic: bytes) -> None:
        """See ``Fabric.leave``."""
        self._topics.discard(topic)
        self._show_all()

    async def publish(self, topic: bytes, data: bytes) -> None:
        """See ``Fabric.publish``."""
        if len(data) > POST_MAX_BYTES:
            raise UsageError(
                f"a post of {len(data)} bytes is above {POST_MAX_BYTES}",
                remedy="Send it over a stream.",
            )
        for links in list(self._links.values()):
            link = links[0]
            if _shows(link, topic):
                link.post(topics.tag(topic, self.key, link.connection.salt), data)

    def subscribe(self, topic: bytes) -> PostQueue:
        """See ``Fabric.subscribe``."""

        def done(queue: PostQueue) -> None:
            with contextlib.suppress(ValueError):
                self._subscriptions[topic].remove(queue)

        queue = PostQueue(done)
        self._subscriptions.setdefault(topic, []).append(queue)
        return queue

    # -- peers and streams ------------------------------------------------

    def on_peer(self, callback: OnPeer) -> None:
        """See ``Fabric.on_peer``."""
        self._callbacks.append(callback)

    def handle(self, protocol: str, handler: Handler) -> None:
        """See ``Fabric.handle``."""
        self._handlers[protocol] = handler

    async def open_stream(self, peer: bytes, protocol: str, *, timeout_s: float) -> Channel:
        """See ``Fabric.open_stream``."""
        try:
            async with asyncio.timeout(timeout_s):
                while peer not in self._links:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise UnreachableError(
                f"no connection to {peer.hex()[:8]} in {timeout_s:g} s"
            ) from None
        return self._links[peer][0].open(protocol)

    async def meet(self, addresses: Sequence[str]) -> None:
        """See ``Fabric.meet``."""
        self._transport.meet(addresses)

    def in_topic(self, peer: bytes, topic: bytes) -> bool:
        """See ``Fabric.in_topic``."""
        return any(_shows(link, topic) for link in tuple(self._links.get(peer, ())))

    def peers(self) -> frozenset[bytes]:
        """See ``Fabric.peers``."""
        return frozenset(self._links)

    def views(self) -> list[PeerView]:
        """See ``Fabric.views``."""
        up = [
            PeerView(
                key=peer,
                address=next(
                    (one.connection.address for one in links if one.connection.address), ""
                ),
                seen=True,
                reachable=True,
                verified=True,
                failing="",
                bytes_in=sum(one.bytes_in for one in links),
                bytes_out=sum(one.bytes_out for one in links),
            )
            for peer, links in sorted(self._links.items())
        ]
        return up + [view for view in self._transport.views() if view.key not in self._links]

    # -- for the links (LinkOwner) ----------------------------------------

    def opened(self, link: Link, channel: Channel, protocol: str) -> None:
        """See ``LinkOwner.opened``."""
        handler = self._handlers.get(protocol)
        if handler is None:
            channel.abort()
        else:
            self._spawn(self._serve(handler, link.peer, channel))

    def posted(self, link: Link, tag: bytes, data: bytes) -> None:
        """See ``LinkOwner.posted``."""
        # Reckoned once: 256 keyed hashes for every post of forty bytes would be cheap to ask for.
        if link not in self._tags:
            session = link.connection.salt
            self._tags[link] = topics.recognise(self._topics, link.peer, session)
        topic = self._tags[link].get(tag)
        for queue in self._subscriptions.get(topic, []) if topic is not None else []:
            queue.put(link.peer, data)

    def shares(self, link: Link) -> bool:
        """See ``LinkOwner.shares``."""
        return any(_shows(link, topic) for topic in self._topics)

    def gone(self, link: Link) -> None:
        """See ``LinkOwner.gone``."""
        self._tags.pop(link, None)
        links = self._links.get(link.peer, [])
        if link in links:
            links.remove(link)
        if not links and self._links.pop(link.peer, None) is not None:
            self._tell(link.peer, up=False)

    # ---------------------------------------------------------------------

    def _attach(self, link: Link) -> None:
        if not self._open:
            link.connection.hang_up()
            return
        for old in list(self._links.get(link.peer, [])):
            # A peer dials once: a second connection means that it started anew.
            if old.dialled == link.dialled:
                old.close(goodbye=False)
        first = link.peer not in self._links
        self._links.setdefault(link.peer, []).append(link)
        link.attach(self)
        self._show(link)
        self._came.set()
        if first:
            self._tell(link.peer, up=True)

    async def _serve(self, handler: Handler, peer: bytes, channel: Channel) -> None:
        try:
            await handler(peer, channel)
        except HivelearnError as error:
            _log.debug("stream of %s reset: %s", peer.hex()[:8], error.what)
            channel.abort()
        except Exception:  # noqa: BLE001 - it is logged with its trace, and the node lives on
            # Whatever a peer made a handler do, it costs that peer one stream.
            _log.exception("a stream handler failed; the stream is reset")
            channel.abort()
        except asyncio.CancelledError:
            channel.abort()
            raise
        else:
            channel.end()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PING_S)
            for link in self._all():
                if loop.time() - link.heard_at > DEAD_S:
                    link.close(goodbye=False)
                else:
                    link.ping()
            self._relieve()

    def _relieve(self) -> None:
        """Close the links for which most lies here, until the rest is bearable."""
        held = {link: link.held for link in self._all()}
        for link in sorted(held, key=lambda one: held[one], reverse=True):
            if sum(held.values()) <= self._held_max_bytes:
                return
            _log.warning("closed: %s left %d bytes lying", link.peer.hex()[:8], held.pop(link))
            link.close(goodbye=False)

    def _tell(self, peer: bytes, *, up: bool) -> None:
        for callback in self._callbacks:
            callback(peer, up)

    def _show_all(self) -> None:
        self._tags.clear()
        for link in self._all():
            self._show(link)

    def _show(self, link: Link) -> None:
        # Sorted by tag: the order of our topics says nothing about them.
        link.show(sorted(topics.tag(one, self.key, link.connection.salt) for one in self._topics))

    def _all(self) -> list[Link]:
        return [link for links in self._links.values() for link in links]

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _shows(link: Link, topic: bytes) -> bool:
    """Whether the peer of ``link`` has shown that it takes part in ``topic``."""
    return topics.tag(topic, link.peer, link.connection.salt) in link.shown
