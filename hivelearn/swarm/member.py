"""One node's part in the swarm: performs what ``gossip`` and ``sync`` decide.

Belongs to one asyncio loop. Here are streams and timers, and nothing is
decided; fetching is the other half (``fetcher``).
"""

import asyncio
import contextlib
import logging
from typing import Final

from hivelearn.errors import HivelearnError
from hivelearn.patch.notice import Notice
from hivelearn.swarm import effects as do
from hivelearn.swarm import gossip, messages, sessions, sync, transfer
from hivelearn.swarm.fabric import Fabric, Stream, Subscription
from hivelearn.swarm.fetcher import CONNECT_S, Fetcher
from hivelearn.swarm.library import Library
from hivelearn.swarm.shell import Setting, Shell
from hivelearn.swarm.topics import NONCE_BYTES

RETRY_S: Final = 5.0  # after an anti-entropy session that broke
JUDGED_MAX: Final = 65_536
_log: Final = logging.getLogger("hivelearn.swarm")


class Member:
    """See the module."""

    def __init__(self, fabric: Fabric, library: Library, setting: Setting) -> None:
        """Bind a fabric (not yet started) to a library."""
        self.fabric, self.library, self.setting = fabric, library, setting
        self._shell = Shell(fabric, library, setting)
        self.news = self._shell.news
        self._fetcher = Fetcher(self._shell)
        self._gossip = gossip.Gossip(self._shell.read, fabric.floods, setting.limits)
        self._shelves = sessions.Shelves(library.payload)
        self._topics: dict[bytes, tuple[Subscription, asyncio.Task[None]]] = {}
        self._judged = self._fetcher.judged  # ids not wanted, or refused
        self._syncs: dict[bytes, tuple[asyncio.Event, asyncio.Task[None]]] = {}
        self._pulled: dict[bytes, frozenset[bytes]] = {}  # peer -> topics shared at the last pull
        self._lobby: dict[bytes, tuple[str, ...]] = {}

    # -- life -------------------------------------------------------------

    async def start(self) -> None:
        """Start the fabric and begin to serve."""
        self.fabric.handle(messages.SYNC_PROTOCOL, self._serve_sync)
        self.fabric.handle(messages.BLOB_PROTOCOL, self._serve_blob)
        self.fabric.on_peer(self._peer)
        await self.fabric.start()
        self._shell.spawn(self._fetcher.tick())

    async def close(self) -> None:
        """Stop everything. May be called twice."""
        await self._shell.close()

    async def join(self, topic: bytes) -> None:
        """Hear, fetch and serve what is announced in ``topic``."""
        if topic in self._topics:
            return
        await self.fabric.join(topic)
        subscription = self.fabric.subscribe(topic)
        listening = self._shell.spawn(self._listen(topic, subscription))
        self._topics[topic] = (subscription, listening)
        self.pull_all()

    async def leave(self, topic: bytes) -> None:
        """Stop hearing of ``topic``."""
        if topic in self._topics:
            subscription, listening = self._topics.pop(topic)
            await self.fabric.leave(topic)
            listening.cancel()
            subscription.close()
            self._lobby.pop(topic, None)

    # -- speaking ---------------------------------------------------------

    async def publish(self, topic: bytes, envelope: bytes) -> None:
        """Announce a patch that the library holds. Raises PeerError if it does not verify."""
        notice = self._shell.read(envelope)
        if notice is not None:
            mine = gossip.Mine(topic, notice)
            await self._do(gossip.step(self._gossip, mine, self._shell.now()))

    async def tell_domains(self, lobby: bytes, names: tuple[str, ...]) -> None:
        """Tell in ``lobby``, now and after every sync, which domains were seen."""
        self._lobby[lobby] = names[: messages.NAMES_MAX]
        await self._shell.post(lobby, messages.Domains(self._lobby[lobby]))

    def pull_all(self, *, judge_again: bool = False) -> None:
        """Begin anti-entropy with every peer now."""
        if judge_again:
            self._judged.clear()
        for peer in self._syncs:
            self._nudge(peer)

    def busy(self) -> bool:
        """Return whether anything is on its way right now."""
        moving = self._fetcher.transfer.active() or self.news.judging > 0
        return moving or bool(self.news.pulls_wanted)

    def unfinished(self) -> list[bytes]:
        """Return the ids of the wanted patches that are not complete."""
        return list(self._fetcher.transfer.blobs)

    # -- hearing ----------------------------------------------------------

    def _peer(self, peer: bytes, up: bool) -> None:  # noqa: FBT001 - the callback's signature
        self.news.at = self._shell.now()
        if up and peer not in self._syncs:
            self.news.meet(peer)
            nudge = asyncio.Event()
            self.news.pulls_wanted.add(peer)
            self._syncs[peer] = (nudge, self._shell.spawn(self._keep_in_sync(peer, nudge)))
        elif not up and peer in self._syncs:
            self._syncs.pop(peer)[1].cancel()
            self._pulled.pop(peer, None)
            self.news.pulls_wanted.discard(peer)
            gossip.step(self._gossip, gossip.PeerLeft(peer), self._shell.now())

    def _nudge(self, peer: bytes) -> None:
        self.news.pulls_wanted.add(peer)
        self._syncs[peer][0].set()

    async def _listen(self, topic: bytes, subscription: Subscription) -> None:
        while True:
            peer, data = await subscription.get()
            heard = gossip.Heard(topic, peer, data)
            await self._do(gossip.step(self._gossip, heard, self._shell.now()))

    async def _keep_in_sync(self, peer: bytes, nudge: asyncio.Event) -> None:
        while True:
            nudge.clear()
            wait_s = self.setting.limits.sync_every_s * self._shell.rng.uniform(0.9, 1.1)
            try:
                await self._pull(peer)
            except HivelearnError as error:
                _log.debug("sync with %s: %s", peer.hex()[:8], error.what)
                await self._shell.blame_for(peer, error)
                wait_s = min(RETRY_S, wait_s)
            if not nudge.is_set():
                self.news.pulls_wanted.discard(peer)
            for lobby, names in list(self._lobby.items()):
                await self._shell.post(lobby, messages.Domains(names))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await nudge.wait()

    async def _pull(self, peer: bytes) -> None:
        topics = frozenset(self._topics)
        held: set[bytes] = set()
        for topic in sorted(topics):
            held.update(await self._shell.ask(self.library.heads, topic) or ())
        under_way = self._fetcher.transfer.blobs
        session = sync.Pull(
            me=self.fabric.key,
            peer=peer,
            nonce=self.setting.nonce(NONCE_BYTES),
            topics=topics,
            knows=lambda one: one in held or one in self._judged or one in under_way,
            read=self._shell.read,
        )
        protocol = messages.SYNC_PROTOCOL
        stream = await self.fabric.open_stream(peer, protocol, timeout_s=CONNECT_S)
        try:
            await sessions.pull(stream, session, self._do)
        except BaseException:
            stream.abort()
            raise
        self._pulled[peer] = frozenset(session.shared)

    async def _serve_sync(self, peer: bytes, stream: Stream) -> None:
        session = sync.Offer(
            me=self.fabric.key,
            peer=peer,
            nonce=self.setting.nonce(NONCE_BYTES),
            topics=frozenset(self._topics),
            heads=self.library.heads,
            envelope=self.library.envelope,
            holds=lambda patch: self.library.payload(patch) is not None,
        )
        await sessions.offer(stream, session, self.setting.offload)
        # It shares a topic in which our last pull did not see it: it joined later.
        if not session.shared <= self._pulled.get(peer, frozenset()) and peer in self._syncs:
            self._nudge(peer)

    async def _serve_blob(self, peer: bytes, stream: Stream) -> None:
        del peer  # who knows a patch's id may have its payload
        await self._shelves.serve(stream, self.setting.offload)

    # -- doing ------------------------------------------------------------

    async def _do(self, effects: list[do.Effect]) -> None:
        for effect in effects:
            match effect:
                case do.Post(topic, message):
                    await self._shell.post(topic, message)
                case do.Learned(topic, peer, notice, held):
                    await self._learned(topic, notice)
                    if held:
                        await self._fetcher.step(transfer.Provider(peer, notice.id))
                case do.Holds(peer, patch):
                    await self._fetcher.step(transfer.Provider(peer, patch))
                case do.Blame(peer, code):
                    await self._shell.blame(peer, code)
                case do.Named(names):
                    self.news.name(names, self.setting.limits.domains_max)
                case _:
                    raise AssertionError(effect)

    async def _learned(self, topic: bytes, notice: Notice) -> None:
        self.news.judging += 1
        try:
            wanted = await self._shell.ask(self._judge, notice)
        finally:
            self.news.judging -= 1
        if wanted:
            self.news.at = self._shell.now()
            await self._fetcher.want(topic, notice)
        if wanted is not False:
            return  # None: it could not be judged now; the next sync asks again
        self._judged[notice.id] = None
        if len(self._judged) > JUDGED_MAX:
            del self._judged[next(iter(self._judged))]

    def _judge(self, notice: Notice) -> bool:
        return self.library.payload(notice.id) is None and self.library.wants(notice)
