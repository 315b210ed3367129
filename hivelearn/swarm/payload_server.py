"""The serving side of blob streams: the leaf hashes of a payload first, then chunk after chunk."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from hivelearn.errors import PeerError
from hivelearn.patch.chunks import CHUNK_BYTES, leaves_of
from hivelearn.swarm.fabric import Stream
from hivelearn.swarm.messages import Absent, AskChunk, Chunk, Fetch, Leaves, decode, encode
from hivelearn.swarm.sessions import IDLE_S, Offload

LEAVES_CACHED_MAX: Final = 1_024  # hashing 20 MB takes 13 ms, and asking for it forty bytes


class PayloadServer:
    """Serves payload files; remembers the leaf hashes of the last ones."""

    def __init__(self, payload: Callable[[bytes], Path | None], offload: "Offload[Any]") -> None:
        """Serve what ``payload(patch_id)`` gives; ``offload`` runs what may block."""
        self._payload, self._offload = payload, offload
        self._leaves: OrderedDict[tuple[bytes, int, int], bytes] = OrderedDict()

    async def serve(self, peer: bytes, stream: Stream) -> None:
        """Serve one stream until the other side ends it. A fabric's ``Handler``."""
        del peer  # who knows a patch's id may have its payload
        frame = await stream.recv(IDLE_S)
        request = decode(frame) if frame is not None else None
        if not isinstance(request, Fetch):
            raise PeerError("a blob stream begins with Fetch", code="blob.turn")
        found = await self._offload(self._find, request.patch)
        if found is None:
            await stream.send(encode(Absent()))
            return
        path, joined = found
        await stream.send(encode(Leaves(joined)))
        while (frame := await stream.recv(IDLE_S)) is not None:
            match decode(frame):
                case AskChunk(index):
                    await stream.send(encode(await self._offload(_chunk, path, index)))
                case None:
                    pass
                case _:
                    raise PeerError("only chunks can be asked for here", code="blob.turn")

    def _find(self, patch: bytes) -> tuple[Path, bytes] | None:
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


def _chunk(path: Path, index: int) -> Chunk:
    with path.open("rb") as file:
        file.seek(index * CHUNK_BYTES)
        return Chunk(index, file.read(CHUNK_BYTES))  # refuses the nothing behind the end
