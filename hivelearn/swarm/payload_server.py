"""The serving side of blob streams: the leaf hashes of a payload first, then chunk after chunk.

Given is what the peer was told of and may still have (``told``). All else is
Absent, at once and without a look at the disk: neither the answer nor its delay
says whether such a payload exists.
"""

from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from hivelearn.errors import PeerError
from hivelearn.patch.chunks import CHUNK_BYTES, leaves_of
from hivelearn.swarm.fabric import Stream
from hivelearn.swarm.messages import Absent, AskChunk, Chunk, Fetch, Leaves, decode, encode
from hivelearn.swarm.patch_store import PatchStore
from hivelearn.swarm.sessions import IDLE_S, Offload
from hivelearn.swarm.told import Told

LEAVES_CACHED_MAX: Final = 1_024  # hashing 20 MB takes 13 ms, and asking for it forty bytes


class PayloadServer:
    """Serves payload files; remembers the leaf hashes of the last ones."""

    def __init__(self, store: PatchStore, told: Told, offload: "Offload[Any]") -> None:
        """Serve what ``store`` holds to whom it was ``told``; ``offload`` runs what may block."""
        self._store, self._told, self._offload = store, told, offload
        self._leaves: OrderedDict[tuple[bytes, int, int], bytes] = OrderedDict()

    async def serve(self, peer: bytes, stream: Stream) -> None:
        """Serve one stream until the other side ends it. A fabric's ``Handler``."""
        frame = await stream.recv(IDLE_S)
        request = decode(frame) if frame is not None else None
        if not isinstance(request, Fetch):
            raise PeerError("a blob stream begins with Fetch", code="blob.turn")
        topics = self._told.where(peer, request.patch)
        found = await self._offload(self._find, request.patch, topics) if topics else None
        if found is None:
            await stream.send(encode(Absent()))
            return
        path, joined = found
        await stream.send(encode(Leaves(joined)))
        while (frame := await stream.recv(IDLE_S)) is not None:
            match decode(frame):
                case AskChunk() if not self._told.where(peer, request.patch):
                    await stream.send(encode(Absent()))  # one of us has left since
                    return
                case AskChunk(index):
                    await stream.send(encode(await self._offload(_chunk, path, index)))
                case None:
                    pass
                case _:
                    raise PeerError("only chunks can be asked for here", code="blob.turn")

    def _find(self, patch: bytes, topics: Collection[bytes]) -> tuple[Path, bytes] | None:
        """Return the file and its joined leaf hashes, or None. Blocking."""
        path = self._store.payload(patch, topics)
        if path is None:
            return None
        stat = path.stat()
        key = (patch, stat.st_size, stat.st_mtime_ns)
        if key not in self._leaves:
            self._leaves[key] = b"".join(leaves_of(path))
            while len(self._leaves) > LEAVES_CACHED_MAX:
                self._leaves.popitem(last=False)
        return path, self._leaves[key]


def _chunk(path: Path, index: int) -> Chunk:
    with path.open("rb") as file:
        file.seek(index * CHUNK_BYTES)
        return Chunk(index, file.read(CHUNK_BYTES))  # refuses the nothing behind the end
