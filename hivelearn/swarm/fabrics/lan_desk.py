"""The front desk: tells in clear which device key listens one port below.

CURVE needs the server's key before the first packet. Who was given a bare
``host:port`` reads it here. The answer is not signed: whoever gives a key must
prove it in the handshake that follows, so a liar only introduces himself.
"""

import asyncio
import contextlib
from typing import Final

from hivelearn.swarm.fabric import KEY_BYTES

DESK_OFFSET: Final = 1  # the desk's port is the CURVE port plus one
ANSWER_S: Final = 3.0
_MAGIC: Final = b"hivelearn/lan/1\0"
ANSWER_BYTES: Final = len(_MAGIC) + KEY_BYTES


async def open_desk(host: str, port: int, key: bytes) -> asyncio.Server:
    """Serve ``key`` on ``host:port`` until the returned server is closed.

    Raises:
        OSError: the port is in use or not ours to take.
    """

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Nothing is read: the answer fits any socket buffer and the line is cut at once.
        with contextlib.suppress(OSError):
            writer.write(_MAGIC + key)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    return await asyncio.start_server(answer, host, port, limit=1024)


async def ask_desk(host: str, port: int) -> bytes | None:
    """Return the key that ``host`` tells for its CURVE ``port``, or None if nobody answers."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port + DESK_OFFSET, limit=1024)
            try:
                answer = await reader.readexactly(ANSWER_BYTES)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, OverflowError):
        return None
    return answer[len(_MAGIC) :] if answer.startswith(_MAGIC) else None
