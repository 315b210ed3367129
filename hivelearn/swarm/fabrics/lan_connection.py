"""Frames over one TLS connection, with every buffer bounded, whoever is at the other end.

A frame is its body's length, its head and its body, and the length is judged
before a byte of the body is kept. What we read waits in TCP while we are busy;
what we write waits here, up to ``UNSENT_MAX_BYTES``, and a peer that lets more
pile up is cut. So a connection costs at most a frame, the read-ahead and that.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from typing import Final, Self

from hivelearn.errors import PeerError
from hivelearn.swarm.fabric import FRAME_MAX_BYTES
from hivelearn.swarm.fabrics.frames import FRAME_COST, HEAD
from hivelearn.swarm.fabrics.lan_tls import HANDSHAKE_S

READ_AHEAD_BYTES: Final = 1 << 18  # asyncio keeps at most twice that before it stops reading
UNSENT_MAX_BYTES: Final = 16 << 20  # credit lets an honest peer ask for about 7 MiB at once
BATCH_BYTES: Final = 1 << 18  # handed to TLS at once
LINGER_S: Final = 0.2  # for the goodbye
_SIZE: Final = struct.Struct("<I")
_PREFIX_BYTES: Final = _SIZE.size + HEAD.size


class LostError(PeerError):
    """The connection ended, or broke the rules and was ended."""

    fault = "nobody"
    code = "connection.lost"


class TlsConnection:
    """See the module; an asynchronous context, whose end closes the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection whose TLS handshake is done."""
        self._reader, self._writer = reader, writer
        self._outbox: deque[bytes] = deque()
        self._unsent = 0
        self._over = False
        self._changed = asyncio.Event()
        self._pump = asyncio.get_running_loop().create_task(self._send_all())

    @property
    def certificate(self) -> bytes:
        """What the listener showed (DER), as the dialler sees it."""
        shown: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        return shown.getpeercert(binary_form=True) or b""

    @property
    def unsent(self) -> int:
        """Bytes that wait for the peer to read."""
        return self._unsent

    def send(self, head: bytes, body: bytes) -> None:
        """Queue one frame. Never waits; a peer that does not read is cut, with all of it."""
        if self._over:
            return
        self._outbox.append(_SIZE.pack(len(body)) + head + body)
        self._unsent += len(body) + FRAME_COST
        self._changed.set()
        if self._unsent > UNSENT_MAX_BYTES:
            self.abort()

    async def receive(self, most: int = FRAME_MAX_BYTES) -> tuple[bytes, bytes]:
        """Return the next frame's head and body.

        Raises:
            LostError: no frame, or one with a body of more than ``most`` bytes.
        """
        try:
            if self._over:
                raise ConnectionAbortedError("it was ended here")
            prefix = await self._reader.readexactly(_PREFIX_BYTES)
            (size,) = _SIZE.unpack_from(prefix)
            if size <= most:
                return prefix[_SIZE.size :], await self._reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise LostError(f"the connection was lost: {error}") from None
        self.abort()
        raise LostError(f"a frame of {size} bytes, where {most} are allowed")

    def abort(self) -> None:
        """End the connection at once."""
        self._over = True
        self._outbox.clear()
        self._changed.set()
        self._writer.transport.abort()

    def hang_up(self) -> None:
        """Send what is queued, then end the connection; waits ``LINGER_S`` at most."""
        if not self._over:
            self._over = True
            self._changed.set()
            asyncio.get_running_loop().call_later(LINGER_S, self._writer.transport.abort)

    async def flushed(self) -> None:
        """Wait until all that was queued is sent, or the connection is gone."""
        await asyncio.wait([self._pump])

    async def _send_all(self) -> None:
        with contextlib.suppress(OSError):
            while self._outbox or not self._over:
                batch, size = [], 0
                while self._outbox and size < BATCH_BYTES:
                    batch.append(self._outbox.popleft())
                    size += len(batch[-1])
                if not batch:
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                self._writer.writelines(batch)
                await self._writer.drain()
                self._unsent -= size + len(batch) * (FRAME_COST - _PREFIX_BYTES)
            if not self._writer.transport.is_closing():  # closing twice confuses asyncio's TLS
                self._writer.close()

    async def __aenter__(self) -> Self:
        """Use the connection in a block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it."""
        self._over = True
        self._writer.transport.abort()
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def accept(raw: socket.socket, context: ssl.SSLContext) -> TlsConnection:
    """Do the handshake with a connection that came in. OSError: no TLS with it."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=READ_AHEAD_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, raw, ssl=context, ssl_handshake_timeout=HANDSHAKE_S
    )
    return TlsConnection(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


async def dial(host: str, port: int, context: ssl.SSLContext) -> TlsConnection:
    """Return a connection to ``host``. OSError: nobody there, or no TLS with it."""
    # No name is told: the certificate has none, and an address is nobody's business.
    reader, writer = await asyncio.open_connection(
        host,
        port,
        limit=READ_AHEAD_BYTES,
        ssl=context,
        server_hostname="",
        ssl_handshake_timeout=HANDSHAKE_S,
    )
    return TlsConnection(reader, writer)
