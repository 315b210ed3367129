"""ZeroMQ sockets with every option that the LAN fabric relies on, in one place."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import zmq
import zmq.asyncio
from zmq.utils import z85

from hivelearn.errors import UsageError
from hivelearn.swarm.fabric import FRAME_MAX_BYTES
from hivelearn.swarm.fabrics.lan_address import Address
from hivelearn.swarm.fabrics.lan_keys import DeviceKeys

HANDSHAKE_MS: Final = 5_000  # a connection that does not finish CURVE by then is cut
HEARTBEAT_MS: Final = 3_000
SILENCE_MS: Final = 10_000
UNREAD_FRAMES_MAX: Final = 16  # of one peer; beyond, its TCP connection waits
CURVE_BYTES: Final = 1_024  # what encryption may add to a frame
LINGER_MS: Final = 200  # for the goodbye on close


class ListenError(UsageError):
    """The node cannot listen where it was told to."""

    remedy = "Choose another address with listen='host:port'; port 0 takes any free one."


def _configure(socket: zmq.asyncio.Socket, keys: DeviceKeys, address: Address) -> None:
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, SILENCE_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, FRAME_MAX_BYTES + CURVE_BYTES)
    socket.setsockopt(zmq.RCVHWM, UNREAD_FRAMES_MAX)
    # No limit here: credit bounds what is unsent, and a full ROUTER would drop.
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.IPV6, int(":" in address.host))
    socket.curve_publickey = z85.encode(keys.curve)
    socket.curve_secretkey = z85.encode(keys.curve_secret)


def listening(
    context: zmq.asyncio.Context, keys: DeviceKeys, address: Address
) -> tuple[zmq.asyncio.Socket, int]:
    """Return a bound ROUTER that demands CURVE, and its port.

    Raises:
        ListenError: the address is in use or not one of this machine.
    """
    socket = context.socket(zmq.ROUTER)
    _configure(socket, keys, address)
    socket.curve_server = True
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # sending to a lost peer says so
    endpoint = address.endpoint if address.port else address.endpoint[:-1] + "*"
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        reason = "the port is in use" if error.errno == zmq.EADDRINUSE else str(error)
        raise ListenError(f"cannot listen on {address.host}:{address.port}: {reason}") from None
    return socket, int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])


def dialling(
    context: zmq.asyncio.Context, keys: DeviceKeys, address: Address, their_curve: bytes
) -> zmq.asyncio.Socket:
    """Return a DEALER for one connection, not yet connected; it never reconnects by itself."""
    socket = context.socket(zmq.DEALER)
    _configure(socket, keys, address)
    socket.curve_serverkey = z85.encode(their_curve)
    # One socket is one connection: a new one needs a new hello.
    socket.setsockopt(zmq.RECONNECT_IVL, -1)
    return socket


def send_now(socket: zmq.asyncio.Socket, parts: list[bytes], failed: Callable[[], None]) -> None:
    """Queue one message without waiting; call ``failed`` soon if the peer is lost."""

    def look(future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and future.exception() is not None:
            failed()

    try:
        asyncio.ensure_future(socket.send_multipart(parts)).add_done_callback(look)
    except zmq.ZMQError:  # the socket is closed
        asyncio.get_running_loop().call_soon(failed)
