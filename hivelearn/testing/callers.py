"""Callers of a LAN node that keep to the rules as far as a test wants, and no further."""

from typing import Final

from hivelearn.swarm.fabric import Fabric
from hivelearn.swarm.fabrics import lan_cable, lan_dial, lan_tls
from hivelearn.swarm.fabrics.lan_address import parse
from hivelearn.swarm.fabrics.lan_cable import Cable
from hivelearn.swarm.fabrics.lan_keys import DeviceKeys, Session, prove

NONCE: Final = b"n" * 32


async def stranger(fabric: Fabric) -> Cable:
    """Return a cable to ``fabric`` with TLS and nothing more."""
    where = parse(fabric.address)
    return await lan_cable.dialled(where.host, where.port, lan_tls.for_dialling())


async def acquaintance(fabric: Fabric, name: bytes) -> tuple[Cable, bytes, bytes]:
    """Return a cable on which a key made of ``name`` was proved, that key, and the answer."""
    cable, keys = await stranger(fabric), DeviceKeys.of(name.ljust(32, b"."))
    cable.send(lan_dial.HELLO, NONCE)
    _, theirs = await cable.receive()
    session = Session(cable.certificate, NONCE, theirs)
    await cable.receive()  # the listener's proof
    cable.send(lan_dial.HELLO, prove(keys, session, fabric.key))
    _, answer = await cable.receive()
    return cable, keys.device, answer
