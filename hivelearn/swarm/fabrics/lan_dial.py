"""Keep one outgoing connection alive: ask, connect, greet, read, and again.

Each attempt is a fresh socket and walks the same steps; ``step`` names the one
it is at, which is what a user sees when a peer does not come up.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from hivelearn.errors import PeerError
from hivelearn.swarm import topics
from hivelearn.swarm.fabric import PeerView
from hivelearn.swarm.fabrics.lan_address import Address
from hivelearn.swarm.fabrics.lan_desk import ask_desk
from hivelearn.swarm.fabrics.lan_keys import (
    DeviceKeys,
    HelloError,
    curve_of,
    make_hello,
    read_hello,
)
from hivelearn.swarm.fabrics.lan_sockets import LINGER_MS, dialling, send_now
from hivelearn.swarm.fabrics.link import HEAD, Link, Wire

HELLO: Final = 0  # the one frame kind that is not the link's business
HELLO_S: Final = 5.0
BACKOFF_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
RECHECK_S: Final = 0.5  # is the peer, which dialled us, still linked?
FRAMES_IN_A_ROW: Final = 32  # then others get the loop
_PARTS: Final = 2
_log: Final = logging.getLogger("hivelearn.swarm")
_EVENTS: Final[dict[int, str]] = {
    zmq.EVENT_CONNECTED: "encrypt",
    zmq.EVENT_HANDSHAKE_SUCCEEDED: "hello",
}
_LOST: Final = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


@dataclass(frozen=True, slots=True)
class Local:
    """What every connection needs of this node."""

    context: zmq.asyncio.Context
    keys: DeviceKeys
    attach: Callable[[Link], None]
    linked: Callable[[bytes], bool]  # is there a link to this key already?
    dialled: set[bytes]  # keys that one of our dials is busy with: two names, one connection


class Dial:
    """One target that we keep trying to reach."""

    def __init__(self, local: Local, target: Address) -> None:
        """Begin idle; ``target.key`` may be None."""
        self._local, self._target = local, target
        self.key = target.key
        self.step = "connect"

    def view(self) -> PeerView:
        """Return how far it got."""
        reached = self.step in ("encrypt", "hello")
        return PeerView(
            self.key,
            str(self._target),
            seen=True,
            reachable=reached,
            verified=False,
            failing=self.step or "connect",  # it was up a moment ago
        )

    async def run(self) -> None:
        """Dial until cancelled, or until the target turns out to be ourselves."""
        failures = 0
        while True:
            if self._target.key is None and not (self.key and self._busy(self.key)):
                self.step = "ask who it is"
                self.key = await ask_desk(self._target.host, self._target.port)
            if self.key == self._local.keys.device:
                self.step = "this node itself"
                return
            if self.key is None:
                worked = False
            elif self._busy(self.key):
                self.step = ""
                await asyncio.sleep(RECHECK_S)
                continue
            else:
                self._local.dialled.add(self.key)
                try:
                    worked = await self._connect(self.key)
                finally:
                    self._local.dialled.discard(self.key)
            failures = 0 if worked else failures + 1
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    def _busy(self, key: bytes) -> bool:
        return self._local.linked(key) or key in self._local.dialled

    async def _connect(self, key: bytes) -> bool:
        """Hold one connection to its end; return whether it was ever verified."""
        self.step = "connect"
        try:
            socket = dialling(self._local.context, self._local.keys, self._target, curve_of(key))
        except HelloError:
            self.step = "key"
            return False
        over = asyncio.Event()
        monitor = socket.get_monitor_socket(zmq.EVENT_ALL)
        tasks = [
            asyncio.create_task(self._watch(monitor, over)),
            asyncio.create_task(self._converse(socket, key, over)),
        ]
        try:
            socket.connect(self._target.endpoint)
            await over.wait()
            return tasks[1].done() and not tasks[1].cancelled() and self.step == ""
        except zmq.ZMQError:
            return False
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            socket.disable_monitor()
            monitor.close(linger=0)
            socket.close(linger=LINGER_MS)

    async def _watch(self, monitor: zmq.asyncio.Socket, over: asyncio.Event) -> None:
        while True:
            event = int((await recv_monitor_message(monitor))["event"])
            if event & _LOST:
                over.set()
            elif self.step:
                self.step = _EVENTS.get(event, self.step)

    async def _converse(self, socket: zmq.asyncio.Socket, key: bytes, over: asyncio.Event) -> None:
        link: Link | None = None
        try:
            async with asyncio.timeout(HELLO_S):
                link = await self._greet(socket, key, over)
            self.step = ""
            self._local.attach(link)
            loop, count = asyncio.get_running_loop(), 0
            while True:
                parts = await socket.recv_multipart()
                if len(parts) == _PARTS:
                    link.receive(parts[0], parts[1], loop.time())
                if (count := count + 1) % FRAMES_IN_A_ROW == 0:
                    await asyncio.sleep(0)
        except (TimeoutError, PeerError, zmq.ZMQError):
            pass  # ``step`` says where; the next attempt comes by itself
        finally:
            if link is not None:
                link.close(goodbye=False)
            over.set()

    async def _greet(self, socket: zmq.asyncio.Socket, key: bytes, over: asyncio.Event) -> Link:
        keys, nonce, their_curve = self._local.keys, os.urandom(topics.NONCE_BYTES), curve_of(key)
        await socket.send_multipart([HEAD.pack(HELLO, 0), make_hello(keys, nonce, their_curve)])
        parts = await socket.recv_multipart()
        if len(parts) != _PARTS or parts[0] != HEAD.pack(HELLO, 0):
            raise HelloError("the first frame is no hello")
        device, their_nonce = read_hello(parts[1], their_curve, keys.curve)
        if device != key:
            raise HelloError("the peer proved another device key")
        wire = Wire(
            transmit=lambda head, body: send_now(socket, [head, body], over.set),
            hang_up=over.set,
            salt=topics.salt(nonce, their_nonce),
            address=str(self._target),
        )
        return Link(key, wire, dialled=True, now=asyncio.get_running_loop().time())


async def stop(tasks: "set[asyncio.Task[None]]") -> None:
    """Cancel ``tasks`` and wait for their end; one that fails on its way out is logged."""
    for task in list(tasks):
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            _log.error("a part of the LAN fabric did not end well", exc_info=outcome)
