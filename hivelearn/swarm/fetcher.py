"""Performs what ``transfer`` decides: blob streams, the partial file, the store's accept."""

import asyncio
import logging
from typing import Final, assert_never

from hivelearn.errors import HivelearnError, PeerError
from hivelearn.patch.notice import Notice
from hivelearn.swarm import messages, partial_file
from hivelearn.swarm import transfer as machine
from hivelearn.swarm import transfer_events as on
from hivelearn.swarm.context import SwarmContext
from hivelearn.swarm.effects import Blame
from hivelearn.swarm.events import PayloadRefused, PayloadStored
from hivelearn.swarm.fabric import OPEN_S, Stream, StreamReset
from hivelearn.swarm.sessions import IDLE_S

_log: Final = logging.getLogger("hivelearn.swarm")


class FetchStream:
    """One blob stream of ours: requests out, messages in."""

    def __init__(self) -> None:
        """Begin without a stream."""
        self._asked: asyncio.Queue[int] = asyncio.Queue()
        self._stream: Stream | None = None
        self.dropped = False

    def ask(self, index: int) -> None:
        """Ask for a chunk soon. The state machine bounds how many."""
        self._asked.put_nowait(index)

    def drop(self) -> None:
        """Reset the stream. The task ends by itself: it may be writing a chunk right now."""
        self.dropped = True
        if self._stream is not None:
            self._stream.abort()

    async def run(self, fetcher: "Fetcher", peer: bytes, patch: bytes) -> None:
        """Hand every answer to ``fetcher`` until dropped or the stream ends.

        Raises:
            PeerError: the stream broke, or a frame was malformed.
        """
        protocol = messages.BLOB_PROTOCOL
        stream = await fetcher.context.fabric.open_stream(peer, protocol, timeout_s=OPEN_S)
        self._stream = stream
        sender = asyncio.create_task(self._send(stream))
        try:
            await stream.send(messages.encode(messages.Fetch(patch)))
            while not self.dropped and (frame := await stream.recv(IDLE_S)) is not None:
                await fetcher.heard(peer, patch, messages.decode(frame))
            await stream.close()
        except BaseException:
            stream.abort()
            raise
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(self, stream: Stream) -> None:
        while True:
            index = await self._asked.get()
            await stream.send(messages.encode(messages.AskChunk(index)))


class Fetcher:
    """The fetching half of a member."""

    def __init__(self, context: SwarmContext) -> None:
        """Begin with nothing wanted."""
        self.context = context
        self.transfer = machine.Transfer(context.rng, context.config.limits)
        self.judged: dict[bytes, None] = {}  # refused after all; not asked for again
        self._stored: set[bytes] = set()  # accepted in this run
        self._topic_of: dict[bytes, bytes] = {}
        self._fetches: dict[tuple[bytes, bytes], FetchStream] = {}

    async def found(self, topic: bytes, peer: bytes, patch: bytes) -> None:
        """Ask ``peer`` for a payload that it says it has, if it said so where we heard of it.

        Else somebody who knows an id from anywhere would learn that we are fetching it.
        """
        if self._topic_of.get(patch) == topic:
            await self.step(on.ProviderFound(peer, patch))

    async def want(self, topic: bytes, notice: Notice) -> None:
        """Fetch this payload as soon as somebody has it."""
        trusted = await self.context.ask(self.context.store.trusts, notice.body.author)
        if notice.id in self._stored:
            return  # it came while the store was asked whether it is wanted
        await self.step(on.Wanted(notice, bool(trusted)))
        wanted = self.transfer.downloads
        if notice.id in wanted:
            self._topic_of = {one: of for one, of in self._topic_of.items() if one in wanted}
            self._topic_of[notice.id] = topic

    async def judge_again(self) -> None:
        """Ask anew whose payloads go first: somebody may have been vouched for."""
        for one in list(self.transfer.downloads.values()):
            trusted = await self.context.ask(self.context.store.trusts, one.author)
            if one.notice.id in self.transfer.downloads:
                await self.step(on.Wanted(one.notice, bool(trusted)))

    async def tick(self) -> None:
        """Let time pass, for ever."""
        while True:
            await asyncio.sleep(self.context.config.limits.tick_s)
            await self.step(on.Tick())

    async def step(self, event: on.TransferEvent) -> None:
        """Take an event and do what follows."""
        for effect in machine.step(self.transfer, event, self.context.now()):
            await self._do(effect)
        self.context.stats.changed.notify()

    async def heard(self, peer: bytes, patch: bytes, message: messages.WireMessage | None) -> None:
        """Take one message of a blob stream."""
        match message:
            case messages.Leaves(joined):
                leaves = tuple(joined[i : i + 32] for i in range(0, len(joined), 32))
                await self.step(on.LeavesReceived(peer, patch, leaves))
            case messages.Chunk(index, data):
                await self.step(on.ChunkReceived(peer, patch, index, data))
            case messages.Absent():
                raise StreamReset("the peer does not have the payload (any more)")
            case None:
                pass
            case _:
                raise PeerError("a message that is no answer", code="blob.turn")

    async def _do(self, effect: on.TransferEffect) -> None:
        match effect:
            case on.OpenStream(peer, patch):
                fetching = self._fetches[peer, patch] = FetchStream()
                self.context.spawn(self._fetch(peer, patch, fetching))
            case on.RequestChunk(peer, patch, index):
                if (peer, patch) in self._fetches:
                    self._fetches[peer, patch].ask(index)
            case on.DropStream(peer, patch):
                if (peer, patch) in self._fetches:
                    self._fetches.pop((peer, patch)).drop()
            case Blame(peer, code):
                await self.context.blame(peer, code)
            case on.Rehash() | on.WriteChunk() | on.Deliver() | on.GiveUp():
                await self._do_with_files(effect)
            case _:
                assert_never(effect)

    async def _fetch(self, peer: bytes, patch: bytes, fetching: FetchStream) -> None:
        try:
            await fetching.run(self, peer, patch)
        except HivelearnError as error:
            if not fetching.dropped:
                _log.debug("fetch from %s: %s", peer.hex()[:8], error.what)
                await self.context.blame_for(peer, error)
        if self._fetches.get((peer, patch)) is fetching:
            del self._fetches[peer, patch]
            await self.step(on.StreamLost(peer, patch))

    async def _do_with_files(self, effect: on.FileEffect) -> None:
        offload, notice = self.context.config.offload, effect.notice
        try:
            match effect:
                case on.Rehash(_, leaves):
                    present = await offload(self._rehash, notice, leaves)
                    await self.step(on.Rehashed(notice.id, present))
                case on.WriteChunk(_, index, data):
                    await offload(self._write, notice, index, data)
                    self.context.stats.progress_s = self.context.now()
                    await self.step(on.ChunkWritten(notice.id, index))
                case on.Deliver():
                    await self._deliver(notice)
                case on.GiveUp(_, code):
                    self._refuse(notice, code)
                case _:
                    assert_never(effect)
        except Exception as error:  # noqa: BLE001 - a full disk, a locked store: told, tried again
            self.context.fail("a payload was not stored", error)
            await self.step(on.Settled(notice.id))

    def _rehash(self, notice: Notice, leaves: tuple[bytes, ...]) -> frozenset[int]:
        return partial_file.rehash(self.context.store.partial(notice), leaves)

    def _write(self, notice: Notice, index: int, data: bytes) -> None:
        partial_file.write(self.context.store.partial(notice), index, data)

    async def _deliver(self, notice: Notice) -> None:
        store, stats = self.context.store, self.context.stats

        def accept() -> None:
            path = store.partial(notice)
            partial_file.finish(path, notice.body.payload_bytes)
            store.accept(notice, path)

        try:
            with stats.at_the_store():
                await self.context.config.offload(accept)
        except PeerError as error:
            self._refuse(notice, error.code)
            await self.step(on.Settled(notice.id))
            return
        finally:
            stats.progress_s = self.context.now()
        self._stored.add(notice.id)
        self.context.emit(PayloadStored(notice))
        await self.step(on.Settled(notice.id))
        topic = self._topic_of.pop(notice.id, None)
        if topic is not None:
            await self.context.post(topic, messages.Have(notice.id))

    def _refuse(self, notice: Notice, code: str) -> None:
        self.context.emit(PayloadRefused(notice, code))
        self._topic_of.pop(notice.id, None)
        self.judged[notice.id] = None
