"""Who may begin a CURVE handshake: everybody, but not all at once.

ZeroMQ asks this socket (ZAP, RFC 27) about every connection, and the answer
names the connection's CURVE key; each frame then carries it as ``User-Id``.
That name is what ties a routing id to a key.
"""

from collections.abc import Callable
from typing import Final

import zmq
import zmq.asyncio

from hivelearn.swarm.limits import Bucket

ENDPOINT: Final = "inproc://zeromq.zap.01"
HANDSHAKES_PER_S: Final = 10.0
HANDSHAKES_BURST: Final = 128.0
_PARTS: Final = 7  # version, request, domain, address, identity, mechanism, one credential


def judge(request: list[bytes], bucket: Bucket, now: float) -> list[bytes]:
    """Return the reply to one ZAP request: OK with the key in hex, or a refusal."""
    request_id = request[1] if len(request) > 1 else b""
    if len(request) != _PARTS or request[0] != b"1.0" or request[5] != b"CURVE":
        return [b"1.0", request_id, b"400", b"CURVE only", b"", b""]
    if not bucket.take(now):
        return [b"1.0", request_id, b"300", b"too many handshakes", b"", b""]
    return [b"1.0", request_id, b"200", b"OK", request[6].hex().encode(), b""]


async def keep_gate(socket: zmq.asyncio.Socket, bucket: Bucket, clock: Callable[[], float]) -> None:
    """Answer requests on the bound REP ``socket`` until cancelled."""
    while True:
        request = await socket.recv_multipart()
        await socket.send_multipart(judge(request, bucket, clock()))
