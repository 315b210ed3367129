"""Callers of a LAN node that keep to the rules as far as a test wants, and no further."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from hivelearn.swarm.fabric import Fabric
from hivelearn.swarm.fabrics import lan_connection, lan_dial, lan_tls
from hivelearn.swarm.fabrics.lan_address import parse
from hivelearn.swarm.fabrics.lan_connection import TlsConnection
from hivelearn.swarm.fabrics.lan_keys import DeviceKeys, HandshakeSession, prove

NONCE: Final = b"n" * 32


@contextlib.asynccontextmanager
async def unframed(
    fabric: Fabric,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Yield a TLS connection to ``fabric`` on which any bytes can be sent."""
    where = parse(fabric.address)
    reader, writer = await asyncio.open_connection(
        where.host, where.port, ssl=lan_tls.for_dialling(), server_hostname=""
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def stranger(fabric: Fabric) -> TlsConnection:
    """Return a connection to ``fabric`` with TLS and nothing more."""
    where = parse(fabric.address)
    return await lan_connection.dial(where.host, where.port, lan_tls.for_dialling())


async def acquaintance(fabric: Fabric, name: bytes) -> tuple[TlsConnection, bytes, bytes]:
    """Return a connection on which a key made of ``name`` was proved, that key, and the answer."""
    connection, keys = await stranger(fabric), DeviceKeys.of(name.ljust(32, b"."))
    connection.send(lan_dial.HELLO, NONCE)
    _, theirs = await connection.receive()
    session = HandshakeSession(connection.certificate, NONCE, theirs)
    await connection.receive()  # the listener's proof
    connection.send(lan_dial.HELLO, prove(keys, session, fabric.key))
    _, answer = await connection.receive()
    return connection, keys.device, answer
