"""The streams behind the state machines: each a short loop of receive, decide, send."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from hivelearn.errors import PeerError
from hivelearn.patch.chunks import CHUNK_BYTES, leaves_of
from hivelearn.swarm import sync
from hivelearn.swarm.effects import Effect, Finish, Send
from hivelearn.swarm.fabric import Stream, StreamReset
from hivelearn.swarm.messages import (
    Absent,
    AskChunk,
    Chunk,
    Fetch,
    Leaves,
    Message,
    decode,
    encode,
)

ANSWER_S: Final = 15.0  # a peer's disk and our link may be slow
IDLE_S: Final = 60.0  # a session that asks nothing for so long is over
LEAVES_CACHED_MAX: Final = 32
T = TypeVar("T")
Offload = Callable[..., Awaitable[T]]  # run a blocking function in a worker thread


async def pull(
    stream: Stream, session: sync.Pull, perform: Callable[[list[Effect]], Awaitable[None]]
) -> None:
    """Run the opener's side of one anti-entropy session to its end.

    Raises:
        PeerError: the stream broke, or a frame was malformed.
    """
    effects = sync.begin(session)
    while True:
        done = any(isinstance(effect, Finish) for effect in effects)
        for effect in effects:
            if isinstance(effect, Send):
                await stream.send(encode(effect.message))
        # The next answer travels while we look at this one.
        await perform([one for one in effects if not isinstance(one, Send | Finish)])
        if done:
            await stream.close()
            return
        frame = await stream.recv(ANSWER_S)
        if frame is None:
            raise StreamReset("the peer ended the session early")
        effects = sync.step(session, decode(frame))


async def offer(stream: Stream, session: sync.Offer, offload: "Offload[list[Message]]") -> None:
    """Answer one anti-entropy session until the opener ends it."""
    while (frame := await stream.recv(IDLE_S)) is not None:
        for message in await offload(sync.answer, session, decode(frame)):
            await stream.send(encode(message))


class Shelves:
    """Serves payload files; remembers the leaf hashes of the last ones."""

    def __init__(self, payload: Callable[[bytes], Path | None]) -> None:
        """Serve what ``payload(patch_id)`` gives."""
        self._payload = payload
        self._leaves: OrderedDict[tuple[bytes, int, int], bytes] = OrderedDict()

    def leaves(self, patch: bytes) -> tuple[Path, bytes] | None:
        """Return the file and its joined leaf hashes, or None. Blocking."""
        path = self._payload(patch)
        if path is None:
            return None
        stat = path.stat()
        key = (patch, stat.st_size, stat.st_mtime_ns)
        if key not in self._leaves:
            self._leaves[key] = b"".join(leaves_of(path))
            while len(self._leaves) > LEAVES_CACHED_MAX:
                self._leaves.popitem(last=False)
        return path, self._leaves[key]

    async def serve(self, stream: Stream, offload: "Offload[Any]") -> None:
        """Serve one blob stream until the other side ends it."""
        frame = await stream.recv(IDLE_S)
        request = decode(frame) if frame is not None else None
        if not isinstance(request, Fetch):
            raise PeerError("a blob stream begins with Fetch", code="blob.turn")
        found = await offload(self.leaves, request.patch)
        if found is None:
            await stream.send(encode(Absent()))
            return
        path, joined = found
        await stream.send(encode(Leaves(joined)))
        while (frame := await stream.recv(IDLE_S)) is not None:
            match decode(frame):
                case AskChunk(index):
                    await stream.send(encode(await offload(_chunk, path, index)))
                case None:
                    pass
                case _:
                    raise PeerError("only chunks can be asked for here", code="blob.turn")


def _chunk(path: Path, index: int) -> Chunk:
    with path.open("rb") as file:
        file.seek(index * CHUNK_BYTES)
        return Chunk(index, file.read(CHUNK_BYTES))  # refuses the nothing behind the end
