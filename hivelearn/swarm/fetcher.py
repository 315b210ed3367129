"""Performs what ``transfer`` decides: blob streams, the partial file, the library's accept."""

import asyncio
import logging
from typing import Final

from hivelearn.errors import HivelearnError, PeerError
from hivelearn.patch.notice import Notice
from hivelearn.swarm import effects as do
from hivelearn.swarm import messages, partial, transfer
from hivelearn.swarm.fabric import Stream, StreamReset
from hivelearn.swarm.sessions import IDLE_S
from hivelearn.swarm.shell import Shell

CONNECT_S: Final = 5.0
_log: Final = logging.getLogger("hivelearn.swarm")


class Fetching:
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
        stream = await fetcher.shell.fabric.open_stream(peer, protocol, timeout_s=CONNECT_S)
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

    def __init__(self, shell: Shell) -> None:
        """Begin with nothing wanted."""
        self.shell = shell
        self.transfer = transfer.Transfer(shell.rng, shell.setting.limits)
        self.judged: dict[bytes, None] = {}  # refused after all; not asked for again
        self._stored: set[bytes] = set()  # accepted in this run
        self._topic_of: dict[bytes, bytes] = {}
        self._fetches: dict[tuple[bytes, bytes], Fetching] = {}

    async def want(self, topic: bytes, notice: Notice) -> None:
        """Fetch this payload as soon as somebody has it."""
        if notice.id in self._stored:
            return  # it came while the library was asked whether it is wanted
        self._topic_of[notice.id] = topic
        await self.step(transfer.Wanted(notice))

    async def tick(self) -> None:
        """Let time pass, for ever."""
        while True:
            await asyncio.sleep(self.shell.setting.limits.tick_s)
            await self.step(transfer.Tick())

    async def step(self, event: transfer.Event) -> None:
        """Take an event and do what follows."""
        for effect in transfer.step(self.transfer, event, self.shell.now()):
            await self._do(effect)

    async def heard(self, peer: bytes, patch: bytes, message: messages.Message | None) -> None:
        """Take one message of a blob stream."""
        match message:
            case messages.Leaves(joined):
                leaves = tuple(joined[i : i + 32] for i in range(0, len(joined), 32))
                await self.step(transfer.LeavesCame(peer, patch, leaves))
            case messages.Chunk(index, data):
                await self.step(transfer.ChunkCame(peer, patch, index, data))
            case messages.Absent():
                raise StreamReset("the peer does not have the payload (any more)")
            case None:
                pass
            case _:
                raise PeerError("a message that is no answer", code="blob.turn")

    async def _do(self, effect: do.Effect) -> None:
        match effect:
            case do.Open(peer, patch):
                fetching = self._fetches[peer, patch] = Fetching()
                self.shell.spawn(self._fetch(peer, patch, fetching))
            case do.Request(peer, patch, index):
                if (peer, patch) in self._fetches:
                    self._fetches[peer, patch].ask(index)
            case do.Drop(peer, patch):
                if (peer, patch) in self._fetches:
                    self._fetches.pop((peer, patch)).drop()
            case do.Blame(peer, code):
                await self.shell.blame(peer, code)
            case do.Rehash() | do.Write() | do.Complete() | do.GiveUp():
                await self._do_with_files(effect)
            case _:
                raise AssertionError(effect)

    async def _fetch(self, peer: bytes, patch: bytes, fetching: Fetching) -> None:
        try:
            await fetching.run(self, peer, patch)
        except HivelearnError as error:
            if not fetching.dropped:
                _log.debug("fetch from %s: %s", peer.hex()[:8], error.what)
                await self.shell.blame_for(peer, error)
        if self._fetches.get((peer, patch)) is fetching:
            del self._fetches[peer, patch]
            await self.step(transfer.StreamLost(peer, patch))

    async def _do_with_files(self, effect: do.Rehash | do.Write | do.Complete | do.GiveUp) -> None:
        offload, notice = self.shell.setting.offload, effect.notice
        try:
            match effect:
                case do.Rehash(_, leaves):
                    present = await offload(self._rehash, notice, leaves)
                    await self.step(transfer.Present(notice.id, present))
                case do.Write(_, index, data):
                    await offload(self._write, notice, index, data)
                    self.shell.news.at = self.shell.now()
                    await self.step(transfer.Written(notice.id, index))
                case do.Complete():
                    await self._complete(notice)
                case do.GiveUp(_, code):
                    self._refuse(notice, code)
        except Exception as error:  # noqa: BLE001 - a full disk, a locked store: told, tried again
            self.shell.fail("a payload was not stored", error)
            await self.step(transfer.Over(notice.id))

    def _rehash(self, notice: Notice, leaves: tuple[bytes, ...]) -> frozenset[int]:
        return partial.rehash(self.shell.library.partial(notice), leaves)

    def _write(self, notice: Notice, index: int, data: bytes) -> None:
        partial.write(self.shell.library.partial(notice), index, data)

    async def _complete(self, notice: Notice) -> None:
        library, news = self.shell.library, self.shell.news

        def accept() -> None:
            path = library.partial(notice)
            partial.seal(path, notice.body.payload_bytes)
            library.accept(notice, path)

        news.judging += 1
        try:
            await self.shell.setting.offload(accept)
        except PeerError as error:
            self._refuse(notice, error.code)
            await self.step(transfer.Over(notice.id))
            return
        finally:
            news.judging -= 1
            news.at = self.shell.now()
        self._stored.add(notice.id)
        news.accepted.append(notice.id)
        await self.step(transfer.Over(notice.id))
        topic = self._topic_of.pop(notice.id, None)
        if topic is not None:
            await self.shell.post(topic, messages.Have(notice.id))

    def _refuse(self, notice: Notice, code: str) -> None:
        self.shell.news.refused[notice.id] = code
        self._topic_of.pop(notice.id, None)
        self.judged[notice.id] = None
