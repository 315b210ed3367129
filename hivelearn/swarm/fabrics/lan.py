"""The LAN fabric: CURVE over TCP, peers given by address or found by zeroconf.

One ROUTER listens for everybody; each peer that we dial has a DEALER of its
own. Encryption, framing and liveness are ZeroMQ's, the proof of the device key
is ``lan_keys``, streams and topics are ``link`` and ``linked``.

Anybody may connect (topics, not connections, are what a secret closes). Until a
connection has said a valid hello it costs us nothing but its socket, and the
gate paces those. Known limit: ZeroMQ cannot hang up on one single incoming
connection, so after we drop a peer its frames are ignored until it goes.
"""

import asyncio
import logging
import os
import socket as sockets
from collections.abc import Callable
from typing import Final

import zmq
import zmq.asyncio

from hivelearn.errors import PeerError
from hivelearn.swarm import topics
from hivelearn.swarm.fabric import FabricConfig, PeerView
from hivelearn.swarm.fabrics import lan_gate
from hivelearn.swarm.fabrics.lan_address import Address, parse
from hivelearn.swarm.fabrics.lan_desk import DESK_OFFSET, open_desk
from hivelearn.swarm.fabrics.lan_dial import FRAMES_IN_A_ROW, HELLO, Dial, Local, stop
from hivelearn.swarm.fabrics.lan_keys import DeviceKeys, make_hello, read_hello
from hivelearn.swarm.fabrics.lan_sockets import LINGER_MS, ListenError, listening, send_now
from hivelearn.swarm.fabrics.link import HEAD, Link, Wire
from hivelearn.swarm.fabrics.linked import LinkedFabric
from hivelearn.swarm.limits import Bucket

LINKS_MAX: Final = 256  # incoming
TARGETS_MAX: Final = 256  # that zeroconf may make us dial
PORT_TRIES: Final = 16
ANYWHERE: Final = "0.0.0.0:0"
SIMULTANEOUS_S: Final = 0.3
_PARTS: Final = 3
_log: Final = logging.getLogger("hivelearn.swarm")


class LanTransport:
    """See ``Transport``."""

    def __init__(self, keys: DeviceKeys, config: FabricConfig) -> None:
        """Check the configuration; nothing is opened yet.

        Raises:
            UsageError: an address that is none.
        """
        self.address = ""
        self._keys, self._config = keys, config
        self._listen = parse(config.listen or ANYWHERE, listening=True)
        self._targets = [parse(peer) for peer in config.peers]
        self._dials: dict[Address, Dial] = {}
        self._links: dict[bytes, Link] = {}  # by routing id: those that dialled us
        self._linked: dict[bytes, int] = {}  # device key -> links, both directions
        self._tasks: set[asyncio.Task[None]] = set()
        self._context: zmq.asyncio.Context | None = None
        self._desk: asyncio.Server | None = None

    async def start(self, attach: Callable[[Link], None]) -> None:
        """See ``Transport.start``. Raises ListenError where it cannot listen."""
        self._context = context = zmq.asyncio.Context()
        loop = asyncio.get_running_loop()
        gate = context.socket(zmq.REP)
        gate.bind(lan_gate.ENDPOINT)  # before the first CURVE socket, or that one is ungated
        burst = lan_gate.HANDSHAKES_BURST
        bucket = Bucket(lan_gate.HANDSHAKES_PER_S, burst, burst, loop.time())
        self._spawn(lan_gate.keep_gate(gate, bucket, loop.time))
        try:
            router, port = await self._open_ports(context)
        except ListenError:
            await self.close()
            raise
        me = Address(_reachable(self._listen.host), port, self._keys.device)
        self.address = str(me)

        def attached(link: Link) -> None:
            self._linked[link.peer] = self._linked.get(link.peer, 0) + 1
            hang_up = link.wire.hang_up

            def unlinked() -> None:
                self._linked[link.peer] -= 1
                if not self._linked[link.peer]:
                    del self._linked[link.peer]
                hang_up()

            link.wire.hang_up = unlinked
            attach(link)

        local = Local(context, self._keys, attached, self._linked.__contains__, set())
        self._spawn(self._listen_on(router, local))
        for target in self._targets:
            self._dial(local, target, after_s=0.0)
        if self._config.discover:
            self._spawn(self._discover(me, local))

    async def close(self) -> None:
        """See ``Transport.close``."""
        await stop(self._tasks)
        if self._desk is not None:
            self._desk.close()
            self._desk = None
        context, self._context = self._context, None
        if context is not None:
            # It waits at most ``LINGER_MS`` for the goodbyes to leave. Not in a worker
            # thread: at the interpreter's exit there are none any more.
            context.destroy(LINGER_MS)

    def views(self) -> list[PeerView]:
        """See ``Transport.views``."""
        return [dial.view() for dial in self._dials.values() if dial.key not in self._linked]

    # -- listening --------------------------------------------------------

    async def _open_ports(self, context: zmq.asyncio.Context) -> tuple[zmq.asyncio.Socket, int]:
        for _ in range(PORT_TRIES):
            router, port = listening(context, self._keys, self._listen)
            try:
                self._desk = await open_desk(
                    self._listen.host, port + DESK_OFFSET, self._keys.device
                )
            except (OSError, OverflowError):
                router.close(linger=0)
                if self._listen.port:
                    break  # a fixed pair of ports is free or it is not
            else:
                return router, port
        raise ListenError(
            f"cannot listen on {self._listen.host}:{self._listen.port}: the port above it, "
            "where others ask for this node's key, is in use"
        )

    async def _listen_on(self, router: zmq.asyncio.Socket, local: Local) -> None:
        loop, count = asyncio.get_running_loop(), 0
        while True:
            parts = await router.recv_multipart(copy=False)
            if (count := count + 1) % FRAMES_IN_A_ROW == 0:
                await asyncio.sleep(0)
            if len(parts) != _PARTS:
                continue
            routing_id, head, body = (part.bytes for part in parts)
            if head == HEAD.pack(HELLO, 0):
                their_curve = bytes.fromhex(str(parts[2].get("User-Id")))
                self._welcome(router, routing_id, their_curve, body, local)
            elif (link := self._links.get(routing_id)) is not None:
                link.receive(head, body, loop.time())

    def _welcome(
        self,
        router: zmq.asyncio.Socket,
        routing_id: bytes,
        their_curve: bytes,
        hello: bytes,
        local: Local,
    ) -> None:
        if routing_id in self._links or len(self._links) >= LINKS_MAX:
            return
        try:
            device, their_nonce = read_hello(hello, their_curve, self._keys.curve)
        except PeerError as error:
            _log.debug("hello refused: %s", error.what)
            return
        if device == self._keys.device:
            return
        nonce = os.urandom(topics.NONCE_BYTES)

        def transmit(head: bytes, body: bytes) -> None:
            send_now(router, [routing_id, head, body], lost)

        def lost() -> None:
            link.close(goodbye=False)

        def hang_up() -> None:
            self._links.pop(routing_id, None)

        wire = Wire(transmit, hang_up, topics.salt(their_nonce, nonce))
        now = asyncio.get_running_loop().time()
        link = self._links[routing_id] = Link(device, wire, dialled=False, now=now)
        transmit(HEAD.pack(HELLO, 0), make_hello(self._keys, nonce, their_curve))
        local.attach(link)

    # -- dialling ---------------------------------------------------------

    def _dial(self, local: Local, target: Address, after_s: float) -> None:
        dial = self._dials[target] = Dial(local, target)

        async def run() -> None:
            await asyncio.sleep(after_s)
            await dial.run()

        self._spawn(run())

    async def _discover(self, me: Address, local: Local) -> None:
        from hivelearn.swarm.fabrics.lan_discovery import Discovery

        def found(target: Address) -> None:
            known = {dial.key for dial in self._dials.values()}
            if target in self._dials or len(self._dials) >= TARGETS_MAX:
                return
            # Both find each other at the same moment: the greater key waits to be dialled.
            mine = target.key is None or me.key is None or me.key < target.key
            wait_s = 0.0 if mine and target.key not in known else SIMULTANEOUS_S
            self._dial(local, target, wait_s)

        discovery = Discovery(me, found)
        try:
            await discovery.start(self._listen.host)
            await asyncio.Event().wait()
        except OSError as error:
            _log.warning("no peers are looked for by zeroconf here: %s", error)
        finally:
            await discovery.close()

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _reachable(host: str) -> str:
    """Return an address of this machine that others can use in place of a wildcard."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound to
        return host
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    with sockets.socket(family, sockets.SOCK_DGRAM) as probe:
        try:
            # No packet leaves: connecting a datagram socket only picks the route
            # (documentation addresses, RFC 5737 and RFC 3849).
            probe.connect(("2001:db8::1" if ":" in host else "192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "::1" if ":" in host else "127.0.0.1"


def open_fabric(device_seed: bytes, config: FabricConfig) -> LinkedFabric:
    """Return a LAN fabric, not yet listening."""
    keys = DeviceKeys.of(device_seed)
    return LinkedFabric(keys.device, LanTransport(keys, config))
