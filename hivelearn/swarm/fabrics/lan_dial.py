"""Keep one outgoing connection alive: connect, greet, read, and again.

Each attempt is a fresh connection and walks the same steps; ``step`` names the
one it is at, which is what a user sees when a peer does not come up.
"""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from hivelearn.errors import PeerError
from hivelearn.swarm import topics
from hivelearn.swarm.fabric import PeerView
from hivelearn.swarm.fabrics import frames, lan_connection
from hivelearn.swarm.fabrics.lan_address import Address
from hivelearn.swarm.fabrics.lan_connection import TlsConnection
from hivelearn.swarm.fabrics.lan_keys import (
    HELLO_MAX_BYTES,
    DeviceKeys,
    HandshakeSession,
    HelloError,
    prove,
    proven,
)
from hivelearn.swarm.fabrics.lan_tls import HANDSHAKE_S
from hivelearn.swarm.fabrics.link import Link, RawConnection
from hivelearn.swarm.limits import TokenBucket

HELLO: Final = frames.head(frames.FrameKind.HELLO)
WELCOME, FULL = b"welcome", b"full"
CONNECT_S: Final = 5.0 + HANDSHAKE_S
HELLO_S: Final = 5.0
BACKOFF_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
LINKED_RECHECK_S: Final = 0.5  # is the peer, which dialled us, still linked?
FRAMES_IN_A_ROW: Final = 32  # then others get the loop
# The smallest frame costs us 15 µs and its sender nine bytes. A payload at full speed is
# 500 frames a second, a ping-pong without a pause 6,000.
FRAMES_PER_S: Final = 10_000.0
FRAMES_BURST: Final = 20_000.0
_REACHED: Final = ("encrypt", "hello", "key", "full")  # steps of a machine that answers


@dataclass(frozen=True, slots=True)
class LocalNode:
    """What every outgoing connection needs of this node."""

    keys: DeviceKeys
    tls: ssl.SSLContext
    carry: Callable[[TlsConnection, Link], Awaitable[None]]
    linked: Callable[[bytes], bool]  # is there a link to this key already?
    dialled: set[bytes]  # keys that one of our dials is busy with: two names, one connection


class Dial:
    """One target that we keep trying to reach."""

    def __init__(self, local: LocalNode, target: Address) -> None:
        """Begin idle; ``target.key`` may be None."""
        self._local, self._target = local, target
        self.key = target.key  # of whoever answers there, once it is known
        self.step = "connect"

    def view(self) -> PeerView:
        """Return how far it got."""
        return PeerView(
            self.key,
            str(self._target),
            seen=True,
            reachable=self.step in _REACHED,
            verified=False,
            failing=self.step or "connect",  # it was up a moment ago
        )

    async def run(self) -> None:
        """Dial until cancelled, or until the target turns out to be ourselves."""
        failures = 0
        while self.key != self._local.keys.device:
            if self.key is not None and self._busy(self.key):
                self.step = ""
                await asyncio.sleep(LINKED_RECHECK_S)
                continue
            worked = await self._connect()
            failures = 0 if worked else failures + 1
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
        self.step = "this node itself"

    def _busy(self, key: bytes) -> bool:
        return self._local.linked(key) or key in self._local.dialled

    async def _connect(self) -> bool:
        """Hold one connection to its end; return whether it was ever verified."""
        self.step = "connect"
        mine = set() if self.key is None else {self.key}
        self._local.dialled.update(mine)
        try:
            async with asyncio.timeout(CONNECT_S):
                connection = await lan_connection.dial(
                    self._target.host, self._target.port, self._local.tls
                )
            async with connection:
                self.step = "hello"
                async with asyncio.timeout(HELLO_S):
                    link = await self._greet(connection, mine)
                if link is not None:
                    self.step = ""
                    await self._local.carry(connection, link)
        except (ssl.SSLError, ConnectionAbortedError, ConnectionResetError):
            self.step = "encrypt"  # a machine that answers, but not with TLS
        except (OSError, TimeoutError, PeerError):
            pass  # ``step`` says where; the next attempt comes by itself
        finally:
            self._local.dialled.difference_update(mine)
        return self.step == ""

    async def _greet(self, connection: TlsConnection, mine: set[bytes]) -> Link | None:
        """Return the link to whoever proved its key; None for somebody we hold already."""
        keys, nonce = self._local.keys, os.urandom(topics.NONCE_BYTES)
        connection.send(HELLO, nonce)
        session = HandshakeSession(connection.certificate, nonce, await _hello(connection))
        key = proven(await _hello(connection), session, None)
        if self._target.key not in (None, key):
            self.step = "key"
            raise HelloError("the peer proved another device key")
        self.key = key
        if key == keys.device or (key not in mine and self._busy(key)):
            return None
        mine.add(key)
        self._local.dialled.add(key)
        connection.send(HELLO, prove(keys, session, key))
        if await _hello(connection) != WELCOME:
            self.step = "full"
            raise HelloError("the peer has no place left")
        raw = RawConnection(
            connection.send,
            connection.hang_up,
            session.salt,
            str(self._target),
            lambda: connection.unsent,
        )
        return Link(key, raw, dialled=True, now=asyncio.get_running_loop().time())


async def greet_back(
    connection: TlsConnection, keys: DeviceKeys, certificate: bytes
) -> tuple[bytes, bytes]:
    """Return (device key, salt) of somebody who dialled us; WELCOME or FULL is still to be said.

    Raises:
        PeerError: it proved no key.
    """
    nonce = os.urandom(topics.NONCE_BYTES)
    connection.send(HELLO, nonce)
    session = HandshakeSession(certificate, await _hello(connection), nonce)
    connection.send(HELLO, prove(keys, session, None))
    return proven(await _hello(connection), session, keys.device), session.salt


async def _hello(connection: TlsConnection) -> bytes:
    head, body = await connection.receive(HELLO_MAX_BYTES)
    if head != HELLO:
        raise HelloError("the first frame is no hello")
    return body


async def carry(connection: TlsConnection, link: Link) -> None:
    """Hand every frame to the link until one of them ends; then close both."""
    loop, count = asyncio.get_running_loop(), 0
    rate = TokenBucket(FRAMES_PER_S, FRAMES_BURST, FRAMES_BURST, loop.time())
    try:
        while link.up:
            head, body = await connection.receive()
            link.receive(head, body, loop.time())
            if (count := count + 1) % FRAMES_IN_A_ROW == 0:
                rate.fine(loop.time(), FRAMES_IN_A_ROW)
                await asyncio.sleep(max(0.0, -rate.tokens / FRAMES_PER_S))  # TCP keeps the rest
        await connection.flushed()  # the goodbye
    finally:
        link.close(goodbye=False)
