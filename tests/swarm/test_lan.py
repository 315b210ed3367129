"""What only the LAN fabric does: ports, addresses, handshakes, discovery."""

import asyncio
import contextlib
import socket

import pytest
import zmq
import zmq.asyncio
from zmq.utils import z85

from hivelearn.errors import UsageError
from hivelearn.identity import full_name
from hivelearn.swarm.fabric import FabricConfig, open_fabric
from hivelearn.swarm.fabrics.lan_keys import DeviceKeys
from hivelearn.swarm.fabrics.link import DATA, HEAD, OPEN
from hivelearn.testing.room import run_room, until


def test_a_port_in_use_is_the_callers_to_fix():
    async def test(room):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            for listen in (f"127.0.0.1:{port}", f"127.0.0.1:{port - 1}"):  # its own, the desk's
                with pytest.raises(UsageError, match="in use") as caught:
                    await room.open("a", listen=listen)
                assert "port 0" in caught.value.remedy

    run_room("lan", test)


def test_a_bare_address_leads_to_whoever_proves_the_key_it_tells():
    async def test(room):
        a = await room.open("a")
        bare = a.address.rpartition("@")[2]
        b = await room.open("b", bare, bare)
        await until(lambda: a.key in b.peers())

    run_room("lan", test)


def test_the_failing_step_is_named():
    async def test(room):
        a = await room.open("a")
        stranger = open_fabric("lan", b"s" * 32, FabricConfig(discover=False)).key
        wrong_key = a.address.replace(a.address.partition("@")[0], full_name(stranger))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            nobody = f"127.0.0.1:{free.getsockname()[1]}"
        b = await room.open("b", wrong_key, f"{full_name(stranger)}@{nobody}", nobody)
        await until(
            lambda: [one.failing for one in b.views()] == ["encrypt", "connect", "ask who it is"]
        )
        assert [one.reachable for one in b.views()] == [True, False, False]

    run_room("lan", test)


def test_a_stranger_without_a_hello_gets_nothing():
    async def test(room):
        a = await room.open("a")
        keys = DeviceKeys.of(b"x" * 32)
        with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as rude:
            rude.curve_publickey, rude.curve_secretkey = (
                z85.encode(keys.curve),
                z85.encode(keys.curve_secret),
            )
            rude.curve_serverkey = z85.encode(DeviceKeys.of(b"a".ljust(32, b".")).curve)
            rude.linger = 0
            rude.connect("tcp://" + a.address.rpartition("@")[2])
            for kind in (OPEN, DATA, 0):
                await rude.send_multipart([HEAD.pack(kind, 1), b"not a hello"])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await rude.recv_multipart()
        assert not a.peers()

    run_room("lan", test)


def test_discovery_is_bounded_to_the_named_interface():
    """On loopback two nodes find each other without any address given."""

    async def main():
        fabrics = [
            open_fabric("lan", name * 32, FabricConfig(listen="127.0.0.1:0"))
            for name in (b"a", b"b")
        ]
        for fabric in fabrics:
            await fabric.start()
        try:
            with contextlib.suppress(TimeoutError):
                await until(lambda: fabrics[1].key in fabrics[0].peers())
            if not fabrics[0].peers():
                pytest.skip("this machine has no multicast on its loopback interface")
        finally:
            for fabric in fabrics:
                await fabric.close()

    asyncio.run(main())
