"""What only the LAN fabric does: ports, addresses, steps, certificate, discovery."""

import asyncio
import contextlib
import os
import socket
import ssl

import pytest

from hivelearn.errors import UsageError
from hivelearn.identity import full_name
from hivelearn.swarm.fabrics import lan_tls
from hivelearn.swarm.fabrics.lan import open_lan
from hivelearn.swarm.fabrics.lan_keys import DeviceKeys
from hivelearn.swarm.fabrics.lan_options import LanOptions
from hivelearn.testing.fabric_contract import run_fabrics, until


def test_a_port_in_use_is_the_callers_to_fix():
    async def test(fabrics):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(UsageError, match="in use") as caught:
                await fabrics.open("a", listen=f"127.0.0.1:{taken.getsockname()[1]}")
            assert "port 0" in caught.value.remedy

    run_fabrics("lan", test)


def test_a_bare_address_leads_to_whoever_proves_the_key_it_tells():
    async def test(fabrics):
        a = await fabrics.open("a")
        bare = a.address.rpartition("@")[2]
        b = await fabrics.open("b", bare, bare, a)
        await until(lambda: a.key in b.peers())
        (view,) = b.views()  # three names, one connection
        assert (view.key, view.verified) == (a.key, True)

    run_fabrics("lan", test)


def test_peers_named_later_are_dialled_too():
    async def test(fabrics):
        a, b = await fabrics.open("a"), await fabrics.open("b")
        await b.meet([a.address])
        await until(lambda: a.key in b.peers())
        with pytest.raises(UsageError, match="address"):
            await b.meet(["nowhere"])

    run_fabrics("lan", test)


def test_the_failing_step_is_named():
    async def test(fabrics):
        a = await fabrics.open("a")
        other = open_lan(b"s" * 32, LanOptions()).key
        wrong_key = a.address.replace(a.address.partition("@")[0], full_name(other))

        async def shout(_reader, writer):
            writer.write(b"220 mail here\r\n")
            writer.close()

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            nobody = f"127.0.0.1:{free.getsockname()[1]}"
        async with await asyncio.start_server(shout, "127.0.0.1", 0) as mail:
            elsewhere = f"127.0.0.1:{mail.sockets[0].getsockname()[1]}"
            b = await fabrics.open("b", wrong_key, nobody, elsewhere)
            await until(lambda: [one.failing for one in b.views()] == ["key", "connect", "encrypt"])
            assert [one.reachable for one in b.views()] == [True, False, True]
        assert not a.peers(), "b showed its key to nobody but whom it wanted"

    run_fabrics("lan", test)


def test_the_certificate_is_one_that_openssl_reads_and_names_nobody():
    seed = os.urandom(32)
    made = lan_tls.certificate(seed)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=made)
    assert context.cert_store_stats()["x509"] == 1
    assert made == lan_tls.certificate(seed)
    assert made != lan_tls.certificate(os.urandom(32))
    assert DeviceKeys.of(seed).device in made


def test_discovery_is_bounded_to_the_named_interface():
    """On loopback two nodes find each other without any address given."""

    async def main():
        fabrics = [open_lan(name * 32, LanOptions(listen="127.0.0.1:0")) for name in (b"a", b"b")]
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
