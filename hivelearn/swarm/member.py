"""One node's part in the swarm: performs what ``gossip`` and ``sync`` decide.

Belongs to one asyncio loop. Here are streams and timers, and nothing is
decided; fetching is the other half (``fetcher``).
"""

import asyncio
import contextlib
import inspect
import logging
from typing import Final, assert_never

from hivelearn.bounds import check, real
from hivelearn.errors import HivelearnError, PeerError, UsageError
from hivelearn.identity import KEY_BYTES
from hivelearn.patch.notice import Notice
from hivelearn.swarm import gossip, messages, sessions, sync
from hivelearn.swarm.context import MemberConfig, SwarmContext
from hivelearn.swarm.effects import AddProvider, Blame, Consider, PeerEffect
from hivelearn.swarm.events import PeerDown, PeerUp
from hivelearn.swarm.fabric import OPEN_S, PROTOCOL_MAX, Fabric, Handler, Stream, Subscription
from hivelearn.swarm.fetcher import Fetcher
from hivelearn.swarm.limits import KeyedBuckets
from hivelearn.swarm.patch_store import PatchStore
from hivelearn.swarm.payload_server import PayloadServer
from hivelearn.swarm.topics import NONCE_BYTES
from hivelearn.swarm.transfer_events import PeerLeft

RETRY_S: Final = 5.0  # after an anti-entropy session that broke
REST_S: Final = 8.0  # ... after one that could not bring all: half of its budget is there again
JUDGED_MAX: Final = 65_536
RESERVED: Final = frozenset({messages.SYNC_PROTOCOL, messages.BLOB_PROTOCOL})
_log: Final = logging.getLogger("hivelearn.swarm")


class TooManyError(PeerError):
    """A peer asks more often than anybody needs to."""

    fault = "nobody"  # perhaps it joined a hundred topics one after the other
    code = "sync.rate"


class Member:
    """See the module."""

    def __init__(self, fabric: Fabric, store: PatchStore, config: MemberConfig) -> None:
        """Bind a fabric (not yet started) to a store of patches."""
        self.fabric, self.store, self.config = fabric, store, config
        self._context = SwarmContext(fabric, store, config)
        self.stats = self._context.stats
        self._fetcher = Fetcher(self._context)
        self._gossip = gossip.Gossip(self._context.read, fabric.floods, config.limits)
        limits = config.limits
        self._notices = KeyedBuckets(limits.notices_per_s, limits.notices_burst)  # by peer
        self._sessions = KeyedBuckets(limits.syncs_per_s, limits.syncs_burst)  # by peer
        self._payloads = PayloadServer(store, self._context.told, config.offload)
        self._topics: dict[bytes, tuple[Subscription, asyncio.Task[None]]] = {}
        self._judged = self._fetcher.judged  # ids not wanted, or refused
        self._syncs: dict[bytes, tuple[asyncio.Event, asyncio.Task[None]]] = {}
        self._pulled: dict[bytes, frozenset[bytes]] = {}  # peer -> topics shared at the last pull
        self._lobby: dict[bytes, tuple[str, ...]] = {}

    # -- life -------------------------------------------------------------

    async def start(self) -> None:
        """Start the fabric and begin to serve."""
        self.fabric.handle(messages.SYNC_PROTOCOL, self._paced(self._serve_sync))
        self.fabric.handle(messages.BLOB_PROTOCOL, self._payloads.serve)
        self.fabric.on_peer(self._peer)
        await self.fabric.start()
        self._context.spawn(self._fetcher.tick())

    async def close(self) -> None:
        """Stop everything. May be called twice."""
        await self._context.close()

    async def join(self, topic: bytes) -> None:
        """Hear, fetch and serve what is announced in ``topic``."""
        if topic in self._topics:
            return
        await self.fabric.join(topic)
        self._context.topics.add(topic)
        subscription = self.fabric.subscribe(topic)
        listening = self._context.spawn(self._listen(topic, subscription))
        self._topics[topic] = (subscription, listening)
        self.pull_all()

    async def leave(self, topic: bytes) -> None:
        """Stop hearing of ``topic``."""
        if topic in self._topics:
            subscription, listening = self._topics.pop(topic)
            self._context.topics.discard(topic)
            self._context.told.leave(topic)
            await self.fabric.leave(topic)
            listening.cancel()
            subscription.close()
            self._lobby.pop(topic, None)

    # -- protocols of other modules ---------------------------------------

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve the streams of another protocol, too; a later handler takes its place.

        Raises:
            UsageError: it is one of the swarm's own, or its name cannot be.
        """
        _check_protocol(protocol)
        called = getattr(handler, "__call__", None)  # noqa: B004 - of an object that is called
        if not (inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(called)):
            raise UsageError(
                f"a {type(handler).__name__} that is not `async def` cannot handle streams",
                remedy="Give an `async def handler(peer, stream)`.",
            )
        self.fabric.handle(protocol, handler)

    async def open_stream(self, peer: bytes, protocol: str, *, timeout_s: float) -> Stream:
        """Open a stream of another protocol; see ``Fabric.open_stream``."""
        _check_protocol(protocol)
        check({"timeout_s": real(0.0)}, {"timeout_s": timeout_s})
        if type(peer) is not bytes or len(peer) != KEY_BYTES:
            raise UsageError(
                f"{peer!r:.80} is no peer",
                remedy="Give the 32 bytes of its device key, as swarm.peers tells them.",
            )
        return await self.fabric.open_stream(peer, protocol, timeout_s=timeout_s)

    # -- speaking ---------------------------------------------------------

    async def publish(self, topic: bytes, envelope: bytes) -> None:
        """Announce a patch that the store holds. Raises PeerError if it does not verify."""
        notice = self._context.read(envelope)
        if notice is not None:
            await self._gossip_step(gossip.PatchPublished(topic, notice))

    async def tell_domains(self, lobby: bytes, names: tuple[str, ...]) -> None:
        """Tell in ``lobby``, now and after every sync, which domains were seen."""
        self._lobby[lobby] = names[: messages.NAMES_MAX]
        await self._context.post(lobby, messages.Domains(self._lobby[lobby]))

    def pull_all(self, *, judge_again: bool = False) -> None:
        """Begin anti-entropy with every peer now."""
        if judge_again:
            self._judged.clear()
            self._context.spawn(self._fetcher.judge_again())
        for peer in self._syncs:
            self._nudge(peer)

    def busy(self) -> bool:
        """Return whether anything is on its way right now."""
        moving = self._fetcher.transfer.active() or self.stats.judging > 0
        return moving or bool(self.stats.pulls_wanted)

    def unfinished(self) -> list[bytes]:
        """Return the ids of the wanted patches that are not complete."""
        return list(self._fetcher.transfer.downloads)

    # -- hearing ----------------------------------------------------------

    def _peer(self, peer: bytes, up: bool) -> None:  # noqa: FBT001 - the callback's signature
        self.stats.progress_s = self._context.now()
        if up and peer not in self._syncs:
            self._context.emit(PeerUp(peer))
            nudge = asyncio.Event()
            self.stats.want_pull(peer)
            self._syncs[peer] = (nudge, self._context.spawn(self._keep_in_sync(peer, nudge)))
        elif not up and peer in self._syncs:
            self._context.emit(PeerDown(peer))
            self._syncs.pop(peer)[1].cancel()
            self._pulled.pop(peer, None)
            self._context.told.forget(peer)
            self.stats.pulled(peer)
            self._context.spawn(self._fetcher.step(PeerLeft(peer)))

    def _nudge(self, peer: bytes) -> None:
        self.stats.want_pull(peer)
        self._syncs[peer][0].set()

    async def _listen(self, topic: bytes, subscription: Subscription) -> None:
        while True:
            peer, data = await subscription.get()
            await self._gossip_step(gossip.PostReceived(topic, peer, data))

    async def _keep_in_sync(self, peer: bytes, nudge: asyncio.Event) -> None:
        while True:
            nudge.clear()
            wait_s = self.config.limits.sync_every_s * self._context.rng.uniform(0.9, 1.1)
            complete = True
            try:
                complete = await self._pull(peer)
            except HivelearnError as error:
                _log.debug("sync with %s: %s", peer.hex()[:8], error.what)
                await self._context.blame_for(peer, error)
                wait_s = min(RETRY_S, wait_s)
            if not complete:
                wait_s = min(REST_S, wait_s)
            elif not nudge.is_set():
                self.stats.pulled(peer)
            for lobby, names in list(self._lobby.items()):
                await self._context.post(lobby, messages.Domains(names))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await nudge.wait()

    async def _pull(self, peer: bytes) -> bool:
        """Ask what a peer holds; return whether that was all."""
        topics = frozenset(self._topics)
        held: set[bytes] = set()
        for topic in sorted(topics):
            held.update(await self._context.ask(self.store.heads, topic) or ())
        under_way = self._fetcher.transfer.downloads
        session = sync.Pull(
            me=self.fabric.key,
            peer=peer,
            nonce=self.config.nonce(NONCE_BYTES),
            topics=topics,
            knows=lambda one: one in held or one in self._judged or one in under_way,
            fetches=lambda one: one in under_way,
            read=self._context.read,
            budget=self._notices.of(peer, self._context.now()).left(self._context.now()),
        )
        protocol = messages.SYNC_PROTOCOL
        stream = await self.fabric.open_stream(peer, protocol, timeout_s=OPEN_S)
        try:
            await sessions.pull(stream, session, self._take)
        except BaseException:
            stream.abort()
            raise
        finally:
            now = self._context.now()
            self._notices.of(peer, now).fine(now, session.spent)
        self._pulled[peer] = frozenset(session.shared)
        return not session.cut

    async def _serve_sync(self, peer: bytes, stream: Stream) -> None:
        session = sync.Offer(
            me=self.fabric.key,
            peer=peer,
            nonce=self.config.nonce(NONCE_BYTES),
            topics=frozenset(self._topics),
            heads=self.store.heads,
            envelope=self.store.envelope,
            holds=lambda patch, where: self.store.payload(patch, where) is not None,
            told=self._context.told,
        )
        await sessions.offer(stream, session, self.config.offload)
        # It shares a topic in which our last pull did not see it: it joined later.
        if not session.shared <= self._pulled.get(peer, frozenset()) and peer in self._syncs:
            self._nudge(peer)

    def _paced(self, handler: Handler) -> Handler:
        """Return ``handler`` for so many sessions of a peer as anybody needs."""

        async def paced(peer: bytes, stream: Stream) -> None:
            now = self._context.now()
            if not self._sessions.of(peer, now).take(now):
                raise TooManyError("too many sessions in a short time")
            await handler(peer, stream)

        return paced

    # -- doing ------------------------------------------------------------

    async def _gossip_step(self, event: gossip.GossipEvent) -> None:
        for effect in gossip.step(self._gossip, event, self._context.now()):
            match effect:
                case gossip.Publish(topic, message):
                    await self._context.post(topic, message)
                case gossip.RecordDomains(names):
                    self.stats.add_domains(names, self.config.limits.domains_max)
                case Consider() | AddProvider() | Blame():
                    await self._take(effect)
                case _:
                    assert_never(effect)

    async def _take(self, effect: PeerEffect) -> None:
        match effect:
            case Consider(topic, peer, notice, held):
                await self._consider(topic, peer, notice)
                if held:
                    await self._fetcher.found(topic, peer, notice.id)
            case AddProvider(topic, peer, patch):
                await self._fetcher.found(topic, peer, patch)
            case Blame(peer, code):
                await self._context.blame(peer, code)
            case _:
                assert_never(effect)

    async def _consider(self, topic: bytes, peer: bytes, notice: Notice) -> None:
        with self.stats.at_the_store():
            wanted = await self._context.ask(self.store.wants, topic, notice, peer)
        if wanted:
            self.stats.progress_s = self._context.now()
            await self._fetcher.want(topic, notice)
        if wanted is not False:
            return  # None: it could not be judged now; the next sync asks again
        self._judged[notice.id] = None
        if len(self._judged) > JUDGED_MAX:
            del self._judged[next(iter(self._judged))]


def _check_protocol(protocol: str) -> None:
    """Refuse the swarm's own protocols, and names that a fabric cannot carry."""
    if not isinstance(protocol, str):
        raise UsageError(f"protocol = {protocol!r:.80}", remedy="Give its name as text.")
    if protocol in RESERVED:
        raise UsageError(
            f"the protocol {protocol!r} is the swarm's own",
            remedy="Choose another name for yours, such as 'example.org/pipeline/1'.",
        )
    if not 0 < len(protocol) <= PROTOCOL_MAX or not protocol.isascii():
        raise UsageError(
            f"{protocol[: 2 * PROTOCOL_MAX]!r} cannot be the name of a protocol",
            remedy=f"Choose 1 to {PROTOCOL_MAX} ASCII characters.",
        )
