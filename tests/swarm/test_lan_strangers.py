"""Anybody may connect to a LAN node, so nobody may cost it much, with a key proved or without."""

import asyncio
import contextlib
import socket
import ssl
import struct

import psutil
import pytest

from hivelearn.errors import PeerError
from hivelearn.swarm.fabric import FRAME_MAX_BYTES
from hivelearn.swarm.fabrics.channel import WINDOW_BYTES
from hivelearn.swarm.fabrics.frames import FrameKind, head
from hivelearn.swarm.fabrics.lan import open_lan
from hivelearn.swarm.fabrics.lan_address import parse
from hivelearn.swarm.fabrics.lan_dial import HELLO, WELCOME
from hivelearn.swarm.fabrics.lan_keys import DeviceKeys, HandshakeSession, prove
from hivelearn.swarm.fabrics.lan_options import LanLimits, LanOptions
from hivelearn.swarm.fabrics.link import STREAMS_MAX
from hivelearn.swarm.fabrics.linked import LinkedFabric
from hivelearn.swarm.fabrics.memory import (
    MemoryNetwork,
    MemoryOptions,
    MemoryTransport,
    open_memory,
)
from hivelearn.testing.callers import NONCE, acquaintance, stranger, unframed
from hivelearn.testing.clock import run_virtual
from hivelearn.testing.fabric_contract import LISTEN, WAIT_S, run_fabrics, seed_of, until

TOPIC = b"t" * 32


async def read_all(connection):
    async with asyncio.timeout(10):
        while True:
            await connection.receive()


async def is_cut(connection):
    with pytest.raises(PeerError, match="lost"):
        await read_all(connection)


async def open_with(fabrics, **limits):
    """Start a node "a" that grants strangers other limits than usual."""
    options = LanOptions(LISTEN, discover=False)
    return await fabrics.start(open_lan(seed_of("a"), options, LanLimits(**limits)))


# -- before a key is proved -----------------------------------------------------

SIZE = struct.Struct("<I").pack
OPENINGS = {
    "no hello": SIZE(32) + head(FrameKind.OPEN, 1) + bytes(32),
    "a frame for a stream": SIZE(8) + head(FrameKind.DATA, 1) + bytes(8),
    "a nonce of no size": SIZE(0) + HELLO,
    "a nonce too long": SIZE(512) + HELLO + bytes(512),
    "a frame above a hello": SIZE(513) + HELLO,
    "a frame of four gigabytes": SIZE(2**32 - 1) + HELLO,
    "no proof": (SIZE(32) + HELLO + bytes(32)) + SIZE(3) + HELLO + b"\xa0xx",
    "hello for ever": (SIZE(32) + HELLO + bytes(32)) * 100,
}


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS.keys())
def test_a_stranger_who_does_not_prove_a_key_is_cut(opening):
    async def test(fabrics):
        a = await fabrics.open("a")
        async with unframed(a) as (reader, writer):
            writer.write(opening)
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                async with asyncio.timeout(10):
                    while await reader.read(1 << 16):
                        pass
        assert not a.peers()

    run_fabrics("lan", test)


def test_what_a_stranger_sends_without_end_is_not_kept():
    """The attack of 3,000 one-megabyte parts: it grew ZeroMQ's queue by 3 GB."""

    async def test(fabrics):
        a = await fabrics.open("a")
        before, sent, block = psutil.Process().memory_info().rss, 0, bytes(1 << 20)
        for first in (b"", SIZE(2**32 - 1), (SIZE(32) + HELLO + bytes(32)) * 30_000):
            async with unframed(a) as (_, writer):
                with contextlib.suppress(OSError):
                    writer.write(first)
                    for _ in range(256):
                        writer.write(block)
                        await writer.drain()
                        sent += len(block)
        assert sent < 64 << 20, "each is cut long before its end"
        assert psutil.Process().memory_info().rss - before < 64 << 20

    run_fabrics("lan", test)


def test_who_says_nothing_is_cut_and_keeps_nobody_out():
    async def test(fabrics):
        a = await open_with(fabrics, hello_s=0.4, unproven_max=4)
        where = parse(a.address)
        silent = [socket.create_connection((where.host, where.port)) for _ in range(8)]
        b = await fabrics.open("b", a)
        await until(lambda: a.key in b.peers())
        for one in silent:
            one.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(one.recv, 1) == b""
            one.close()

    run_fabrics("lan", test)


# -- after a key is proved ------------------------------------------------------


def test_a_proof_is_answered_by_a_link_and_a_frame_above_the_limit_ends_it():
    async def test(fabrics):
        a = await fabrics.open("a")
        connection, device, answer = await acquaintance(a, b"rude")
        async with connection:
            assert answer == WELCOME
            await until(lambda: device in a.peers())
            connection.send(head(FrameKind.DATA, 1), bytes(FRAME_MAX_BYTES + 1))
            await is_cut(connection)
        await until(lambda: not a.peers())

    run_fabrics("lan", test)


def test_a_peer_that_reads_nothing_is_cut_before_much_is_queued_for_it():
    async def flood(_peer, stream):
        for _ in range(4):
            await stream.send(bytes(WINDOW_BYTES // 4))
        await stream.recv(WAIT_S)

    async def test(fabrics):
        a = await fabrics.open("a")
        a.handle("flood", flood)
        connection, device, _ = await acquaintance(a, b"deaf")
        async with connection:
            await until(lambda: device in a.peers())
            for number in range(1, 2 * STREAMS_MAX, 2):  # a window of each: 64 MiB
                connection.send(head(FrameKind.OPEN, number), b"flood")
            await until(lambda: not a.peers())

    run_fabrics("lan", test)


def test_when_too_much_lies_here_the_greediest_go():
    async def main():
        network = MemoryNetwork()
        key = open_memory(seed_of("a"), MemoryOptions(network)).key
        a = LinkedFabric(key, MemoryTransport(key, network), held_max_bytes=3 << 20)
        a.handle("deaf", lambda _peer, _stream: asyncio.sleep(60))
        b, c = (open_memory(seed_of(name), MemoryOptions(network)) for name in "bc")
        for fabric in (a, b, c):
            await fabric.start()
        await until(lambda: len(a.peers()) == 2)
        for peer, count in ((b, 3), (c, 1)):  # streams that nobody reads, a window full each
            for _ in range(count):
                stream = await peer.open_stream(a.key, "deaf", timeout_s=10)
                for _ in range(4):
                    await stream.send(bytes(WINDOW_BYTES // 4))
        await until(lambda: a.peers() == {c.key})
        for fabric in (a, b, c):
            await fabric.close()

    run_virtual(main())


def test_a_proof_is_of_one_session_and_one_listener():
    async def test(fabrics):
        a = await fabrics.open("a")
        keys = DeviceKeys.of(b"x" * 32)
        for wrong in ("nonce", "certificate", "listener"):
            async with await stranger(a) as connection:
                connection.send(HELLO, NONCE)
                _, theirs = await connection.receive()
                session = HandshakeSession(
                    b"another" if wrong == "certificate" else connection.certificate,
                    NONCE,
                    b"o" * 32 if wrong == "nonce" else theirs,
                )
                listener = keys.device if wrong == "listener" else a.key
                connection.send(HELLO, prove(keys, session, listener))
                await is_cut(connection)
        assert not a.peers()

    run_fabrics("lan", test)


def test_newcomers_take_the_slots_of_those_who_share_nothing():
    async def test(fabrics):
        a = await open_with(fabrics, links_max=3, settled_s=0.0)
        await a.join(TOPIC)
        crowd = [await acquaintance(a, b"%d" % i) for i in range(3)]
        await until(lambda: len(a.peers()) == 3)
        b = await fabrics.open("b", a)
        await b.join(TOPIC)
        await until(lambda: a.key in b.peers() and len(a.peers()) == 3)
        assert crowd[0][1] not in a.peers(), "the one that was useless for longest"
        heard = asyncio.create_task(b.subscribe(TOPIC).get())
        while not heard.done():  # until b has shown its topic, no post goes to it
            await a.publish(TOPIC, b"hello")
            await asyncio.sleep(0.02)
        crowd += [await acquaintance(a, b"%d" % i) for i in range(3, 9)]
        assert b.key in a.peers(), "who shares a topic stays"
        for connection, _, _ in crowd:
            async with connection:
                pass

    run_fabrics("lan", test)


def test_a_dialler_is_told_when_there_is_no_slot():
    async def test(fabrics):
        a = await open_with(fabrics, links_max=1)
        b = await fabrics.open("b", a)
        await until(lambda: b.key in a.peers())
        c = await fabrics.open("c", a)
        await until(lambda: [one.failing for one in c.views()] == ["full"])
        assert a.peers() == {b.key}

    run_fabrics("lan", test)
