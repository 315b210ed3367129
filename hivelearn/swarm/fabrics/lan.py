"""The LAN fabric: TLS over TCP, peers given by address or found by zeroconf.

The channel is the standard library's TLS 1.3 (``lan_tls``), the proof of the
device key is ``lan_keys``, frames and their bounds are ``lan_connection``, streams and
topics are ``link`` and ``linked``. Each connection is a task of its own.

Anybody may connect (topics, not connections, are what a secret closes). So until
a connection has proved a key it gets one of few slots, a few seconds and no
frame above half a kilobyte (``LanLimits``), and who may stay when all slots are
taken is ``lan_admission``'s to say.
"""

import asyncio
import contextlib
import errno
import logging
import socket as sockets
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from hivelearn.errors import PeerError, UsageError
from hivelearn.swarm.fabric import PeerView
from hivelearn.swarm.fabrics import lan_connection, lan_tls
from hivelearn.swarm.fabrics.lan_address import Address, parse
from hivelearn.swarm.fabrics.lan_admission import (
    HANDSHAKES_BURST,
    HANDSHAKES_PER_S,
    Slot,
    choose_evicted,
    host_of,
)
from hivelearn.swarm.fabrics.lan_connection import TlsConnection
from hivelearn.swarm.fabrics.lan_dial import (
    FULL,
    HELLO,
    WELCOME,
    Dial,
    LocalNode,
    carry,
    greet_back,
)
from hivelearn.swarm.fabrics.lan_keys import DeviceKeys
from hivelearn.swarm.fabrics.lan_options import LanLimits, LanOptions
from hivelearn.swarm.fabrics.link import Link, RawConnection
from hivelearn.swarm.fabrics.linked import LinkedFabric
from hivelearn.swarm.limits import KeyedBuckets

BACKLOG: Final = 64
NO_FILES_S: Final = 1.0  # to wait when the process may open no more
SIMULTANEOUS_S: Final = 0.3
_log: Final = logging.getLogger("hivelearn.swarm")


class ListenError(UsageError):
    """The node cannot listen where it was told to."""

    remedy = "Choose another address with listen='host:port'; port 0 takes any free one."


class LanTransport:
    """See ``Transport``."""

    def __init__(
        self, keys: DeviceKeys, options: LanOptions, limits: LanLimits | None = None
    ) -> None:
        """Bind the device's keys to the options; nothing is opened yet."""
        self.address = ""
        self._keys, self._options, self._limits = keys, options, limits or LanLimits()
        self._listen = parse(options.listen, listening=True)
        self._dials: dict[Address, Dial] = {}
        self._unproven: dict[asyncio.Task[None], Slot[asyncio.Task[None]]] = {}
        self._incoming: dict[Link, tuple[str, float]] = {}  # -> host, since
        self._linked: dict[bytes, int] = {}  # device key -> links, both directions
        self._connections: set[TlsConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._rate = KeyedBuckets(HANDSHAKES_PER_S, HANDSHAKES_BURST)  # by host
        self._socket: sockets.socket | None = None
        self._certificate = b""
        self._attach: Callable[[Link], None] = lambda _: None
        self._local = LocalNode(keys, lan_tls.for_dialling(), self._carry, self._has_link, set())

    async def start(self, attach: Callable[[Link], None]) -> None:
        """See ``Transport.start``. Raises ListenError where it cannot listen."""
        self._attach = attach
        context, self._certificate = lan_tls.for_listening()
        self._socket = _listening(self._listen)
        port = self._socket.getsockname()[1]
        me = Address(_reachable(self._listen.host), port, self._keys.device)
        self.address = str(me)
        self._spawn(self._accept(self._socket, context))
        for peer in self._options.peers:
            self._dial(parse(peer))
        if self._options.discover:
            self._spawn(self._discover(me))

    async def close(self) -> None:
        """See ``Transport.close``."""
        # The links were closed before: the goodbyes leave, for LINGER_S at most.
        await asyncio.gather(*(connection.flushed() for connection in self._connections))
        for task in list(self._tasks):
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                _log.error("a part of the LAN fabric did not end well", exc_info=outcome)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def views(self) -> list[PeerView]:
        """See ``Transport.views``."""
        return [dial.view() for dial in self._dials.values() if not self._has_link(dial.key)]

    def meet(self, addresses: Sequence[str]) -> None:
        """See ``Transport.meet``."""
        for target in [parse(address) for address in addresses]:
            if target not in self._dials:
                self._dial(target)

    # -- listening --------------------------------------------------------

    async def _accept(self, listener: sockets.socket, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                raw, (address, *_) = await loop.sock_accept(listener)
            except ConnectionError:
                continue  # it went while it waited
            except OSError as error:
                _log.warning("a connection could not be taken: %s", error)
                await asyncio.sleep(NO_FILES_S)
                continue
            host = host_of(address)
            now = loop.time()
            if not self._rate.of(host, now).take(now) or not self._slot_for(host):
                raw.close()
                continue
            task = self._spawn(self._receive(raw, context, host))
            self._unproven[task] = Slot(host, now, useful=False, who=task)
            task.add_done_callback(partial(self._left, raw))

    def _left(self, raw: sockets.socket, task: asyncio.Task[None]) -> None:
        self._unproven.pop(task, None)
        raw.close()  # a task that was cancelled before it began has not

    def _slot_for(self, host: str) -> bool:
        """Return whether a connection of ``host`` may begin to prove a key."""
        if len(self._unproven) < self._limits.unproven_max:
            return True
        now = asyncio.get_running_loop().time()
        last = choose_evicted(host, self._unproven.values(), now - self._limits.hello_s / 2)
        if last is None:
            return False
        del self._unproven[last]
        return last.cancel()

    async def _receive(self, raw: sockets.socket, context: ssl.SSLContext, host: str) -> None:
        with contextlib.suppress(OSError, TimeoutError, PeerError):
            async with asyncio.timeout(self._limits.hello_s) as limit:
                async with await lan_connection.accept(raw, context) as connection:
                    device, salt = await greet_back(connection, self._keys, self._certificate)
                    limit.reschedule(None)
                    await self._welcome(connection, device, salt, host)

    async def _welcome(
        self, connection: TlsConnection, device: bytes, salt: bytes, host: str
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._unproven.pop(task, None)
        if device == self._keys.device:
            return
        now = asyncio.get_running_loop().time()
        raw = RawConnection(
            connection.send, connection.hang_up, salt, unsent=lambda: connection.unsent
        )
        link = Link(device, raw, dialled=False, now=now)
        if len(self._incoming) >= self._limits.links_max:
            slots = [
                Slot(at, since, one.useful, one) for one, (at, since) in self._incoming.items()
            ]
            last = choose_evicted(host, slots, now - self._limits.settled_s)
            if last is None:
                connection.send(HELLO, FULL)
                connection.hang_up()
                await connection.flushed()
                return
            last.close()
        self._incoming[link] = (host, now)
        try:
            connection.send(HELLO, WELCOME)
            await self._carry(connection, link)
        finally:
            self._incoming.pop(link, None)

    # -- both directions --------------------------------------------------

    def _has_link(self, key: bytes | None) -> bool:
        return key in self._linked

    async def _carry(self, connection: TlsConnection, link: Link) -> None:
        self._linked[link.peer] = self._linked.get(link.peer, 0) + 1
        self._connections.add(connection)
        try:
            self._attach(link)
            await carry(connection, link)
        finally:
            self._connections.discard(connection)
            self._linked[link.peer] -= 1
            if not self._linked[link.peer]:
                del self._linked[link.peer]

    # -- dialling ---------------------------------------------------------

    def _dial(self, target: Address, after_s: float = 0.0) -> None:
        dial = self._dials[target] = Dial(self._local, target)

        async def run() -> None:
            await asyncio.sleep(after_s)
            await dial.run()

        self._spawn(run())

    async def _discover(self, me: Address) -> None:
        from hivelearn.swarm.fabrics.lan_discovery import Discovery

        def found(target: Address) -> None:
            known = {dial.key for dial in self._dials.values()}
            if target in self._dials or len(self._dials) >= self._limits.targets_max:
                return
            # Both find each other at the same moment: the greater key waits to be dialled.
            mine = target.key is None or me.key is None or me.key < target.key
            wait_s = 0.0 if mine and target.key not in known else SIMULTANEOUS_S
            self._dial(target, wait_s)

        discovery = Discovery(me, found)
        try:
            await discovery.start(self._listen.host)
            await asyncio.Event().wait()
        except OSError as error:
            _log.warning("no peers are looked for by zeroconf here: %s", error)
        finally:
            await discovery.close()

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _listening(address: Address) -> sockets.socket:
    """Return a bound socket. Raises ListenError."""
    family = sockets.AF_INET6 if ":" in address.host else sockets.AF_INET
    try:
        made = sockets.create_server((address.host, address.port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = "the port is in use" if error.errno == errno.EADDRINUSE else str(error)
        raise ListenError(f"cannot listen on {address.host}:{address.port}: {reason}") from None
    made.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return made


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


def open_lan(
    device_seed: bytes, options: LanOptions, limits: LanLimits | None = None
) -> LinkedFabric:
    """Return a LAN fabric, not yet listening."""
    keys = DeviceKeys.of(device_seed)
    return LinkedFabric(keys.device, LanTransport(keys, options, limits))
