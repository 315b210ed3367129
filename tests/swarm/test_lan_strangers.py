"""Anybody may connect to a LAN node, so nobody may cost it much, with a key proved or without."""

import asyncio
import contextlib
import socket

import psutil
import pytest

from hivelearn.errors import PeerError
from hivelearn.swarm.fabric import FRAME_MAX_BYTES
from hivelearn.swarm.fabrics import lan, lan_cable, lan_dial, linked
from hivelearn.swarm.fabrics.lan_address import parse
from hivelearn.swarm.fabrics.lan_keys import DeviceKeys, Session, prove
from hivelearn.swarm.fabrics.link import DATA, HEAD, OPEN, PING
from hivelearn.testing.callers import NONCE, acquaintance, stranger
from hivelearn.testing.room import run_room, until

TOPIC = b"t" * 32


async def read_all(cable):
    async with asyncio.timeout(10):
        while True:
            await cable.receive()


async def is_cut(cable):
    with pytest.raises(PeerError, match="lost"):
        await read_all(cable)


# -- before a key is proved -----------------------------------------------------

FRAME = lan_cable._SIZE.pack
OPENINGS = {
    "no hello": FRAME(32) + HEAD.pack(OPEN, 1) + bytes(32),
    "a frame for a stream": FRAME(8) + HEAD.pack(DATA, 1) + bytes(8),
    "a nonce of no size": FRAME(0) + lan_dial.HELLO,
    "a nonce too long": FRAME(512) + lan_dial.HELLO + bytes(512),
    "a frame above a hello": FRAME(513) + lan_dial.HELLO,
    "a frame of four gigabytes": FRAME(2**32 - 1) + lan_dial.HELLO,
    "no proof": (FRAME(32) + lan_dial.HELLO + bytes(32)) + FRAME(3) + lan_dial.HELLO + b"\xa0xx",
    "hello for ever": (FRAME(32) + lan_dial.HELLO + bytes(32)) * 100,
}


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS.keys())
def test_a_stranger_who_does_not_prove_a_key_is_cut(opening):
    async def test(room):
        a = await room.open("a")
        async with await stranger(a) as rude:
            rude._writer.write(opening)
            await is_cut(rude)
        assert not a.peers()

    run_room("lan", test)


def test_what_a_stranger_sends_without_end_is_not_kept():
    """The attack of 3,000 one-megabyte parts: it grew ZeroMQ's queue by 3 GB."""

    async def test(room):
        a = await room.open("a")
        before, sent, block = psutil.Process().memory_info().rss, 0, bytes(1 << 20)
        for first in (b"", FRAME(2**32 - 1), (FRAME(32) + lan_dial.HELLO + bytes(32)) * 30_000):
            async with await stranger(a) as rude:
                with contextlib.suppress(OSError):
                    rude._writer.write(first)
                    for _ in range(256):
                        rude._writer.write(block)
                        await rude._writer.drain()
                        sent += len(block)
        assert sent < 64 << 20, "each is cut long before its end"
        assert psutil.Process().memory_info().rss - before < 64 << 20

    run_room("lan", test)


def test_who_says_nothing_is_cut_and_keeps_nobody_out(monkeypatch):
    monkeypatch.setattr(lan, "HELLO_S", 0.4)
    monkeypatch.setattr(lan, "GUESTS_MAX", 4)

    async def test(room):
        a = await room.open("a")
        where = parse(a.address)
        silent = [socket.create_connection((where.host, where.port)) for _ in range(8)]
        b = await room.open("b", a)
        await until(lambda: a.key in b.peers())
        for one in silent:
            one.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(one.recv, 1) == b""
            one.close()

    run_room("lan", test)


# -- after a key is proved ------------------------------------------------------


def test_a_proof_is_answered_by_a_link_and_a_frame_above_the_limit_ends_it():
    async def test(room):
        a = await room.open("a")
        cable, device, answer = await acquaintance(a, b"rude")
        async with cable:
            assert answer == lan_dial.WELCOME
            await until(lambda: device in a.peers())
            cable._writer.write(FRAME(FRAME_MAX_BYTES + 1) + HEAD.pack(DATA, 1))
            await is_cut(cable)
        await until(lambda: not a.peers())

    run_room("lan", test)


def test_a_peer_that_reads_nothing_is_cut_before_much_is_queued_for_it():
    async def test(room):
        a = await room.open("a")
        cable, device, _ = await acquaintance(a, b"deaf")
        async with cable:
            await until(lambda: device in a.peers())
            (link,) = a._links[device]
            for _ in range(lan_cable.UNSENT_MAX_BYTES // lan_cable.FRAME_COST + 1):
                link.transmit(PING)
            await until(lambda: not a.peers())

    run_room("lan", test)


def test_when_too_much_lies_here_the_greediest_go(monkeypatch):
    monkeypatch.setattr(linked, "HELD_MAX_BYTES", 3 << 20)

    async def test(room):
        a = await room.open("a")
        a.handle("deaf", lambda _peer, _stream: asyncio.sleep(60))
        b = await room.open("b", a)
        c = await room.open("c", a)
        await until(lambda: len(a.peers()) == 2)
        for peer, count in ((b, 3), (c, 1)):  # streams that nobody reads, a window full each
            for _ in range(count):
                stream = await peer.open_stream(a.key, "deaf", timeout_s=10)
                for _ in range(4):
                    await stream.send(bytes(1 << 18))
        await until(lambda: sum(link.held for link in a._all()) >= 4 << 20)
        (other,) = a._links[c.key]
        a._relieve()
        assert a._all() == [other]

    run_room("lan", test)


def test_a_proof_is_of_one_session_and_one_listener():
    async def test(room):
        a = await room.open("a")
        keys = DeviceKeys.of(b"x" * 32)
        for wrong in ("nonce", "certificate", "listener"):
            async with await stranger(a) as cable:
                cable.send(lan_dial.HELLO, NONCE)
                _, theirs = await cable.receive()
                session = Session(
                    b"another" if wrong == "certificate" else cable.certificate,
                    NONCE,
                    b"o" * 32 if wrong == "nonce" else theirs,
                )
                listener = keys.device if wrong == "listener" else a.key
                cable.send(lan_dial.HELLO, prove(keys, session, listener))
                await is_cut(cable)
        assert not a.peers()

    run_room("lan", test)


def test_newcomers_take_the_places_of_those_who_share_nothing(monkeypatch):
    monkeypatch.setattr(lan, "LINKS_MAX", 3)
    monkeypatch.setattr(lan, "SETTLED_S", 0.0)

    async def test(room):
        a = await room.open("a")
        await a.join(TOPIC)
        crowd = [await acquaintance(a, b"%d" % i) for i in range(3)]
        await until(lambda: len(a.peers()) == 3)
        b = await room.open("b", a)
        await b.join(TOPIC)
        await until(lambda: a.key in b.peers() and len(a.peers()) == 3)
        assert crowd[0][1] not in a.peers(), "the one that was useless for longest"
        await until(lambda: a._links[b.key][0].useful)
        crowd += [await acquaintance(a, b"%d" % i) for i in range(3, 9)]
        assert b.key in a.peers(), "who shares a topic stays"
        for cable, _, _ in crowd:
            async with cable:
                pass

    run_room("lan", test)


def test_a_dialler_is_told_when_there_is_no_place(monkeypatch):
    monkeypatch.setattr(lan, "LINKS_MAX", 1)

    async def test(room):
        a = await room.open("a")
        b = await room.open("b", a)
        await until(lambda: b.key in a.peers())
        c = await room.open("c", a)
        await until(lambda: [one.failing for one in c.views()] == ["full"])
        assert a.peers() == {b.key}

    run_room("lan", test)
