"""Members among peers that lie, stay silent or talk nonsense."""

import asyncio
import random
from dataclasses import replace
from functools import partial

import pytest

from hivelearn.patch.chunks import CHUNK_BYTES, leaves_of
from hivelearn.swarm.fabric import StreamReset
from hivelearn.swarm.messages import (
    BLOB_PROTOCOL,
    Absent,
    Announce,
    AskChunk,
    Chunk,
    Fetch,
    Leaves,
    decode,
    encode,
)
from hivelearn.testing.folder_store import author, notice_of
from hivelearn.testing.raw_peer import RawPeer
from hivelearn.testing.simulation import TOPIC, give, has, run_simulation, within

OTHER = b"o" * 32
PAYLOAD = random.Random(1).randbytes(5 * CHUNK_BYTES + 77)


@pytest.fixture
def simulate(tmp_path):
    """Run an async test in a simulation."""
    return partial(run_simulation, tmp_path)


class Liar:
    """A provider that speaks the protocol and gives ``chunk(i)`` for chunk i."""

    def __init__(self, sim, notice, leaves, chunk):
        self.fabric, self.notice = sim.fabric("liar"), notice
        self.leaves, self.chunk = leaves, chunk

    async def start(self):
        self.fabric.handle(BLOB_PROTOCOL, self.serve)
        await self.fabric.start()
        await self.fabric.join(TOPIC)

    async def announce(self):
        await self.fabric.publish(TOPIC, encode(Announce(self.notice.envelope, held=True)))

    async def serve(self, _peer, stream):
        await stream.recv(5)
        await stream.send(encode(self.leaves))
        for index in range(100):
            if await stream.recv(30) is None:
                return
            message = self.chunk(index)
            if message is None:
                await asyncio.sleep(100)
            else:
                await stream.send(encode(message))


LEAVES = Leaves(b"".join(leaves_of(PAYLOAD)))
LIARS = {
    "corrupt chunks": (LEAVES, lambda i: Chunk(i % 6, b"corrupt"), "blob.hash"),
    "unasked chunk": (LEAVES, lambda _: Chunk(2047, b"what"), "blob.unasked"),
    "wrong leaves": (Leaves(bytes(32 * 6)), lambda _: None, "blob.leaves"),
    "too few leaves": (Leaves(bytes(32)), lambda _: None, "blob.leaves"),
    "no answer at all": (Announce(b"x", held=True), lambda _: None, "blob.turn"),
    "silent after the leaves": (LEAVES, lambda _: None, None),
    "absent after all": (Absent(), lambda _: None, None),
}


@pytest.mark.parametrize(("leaves", "chunk", "code"), LIARS.values(), ids=LIARS.keys())
def test_a_bad_provider_is_left_and_an_honest_one_completes(simulate, leaves, chunk, code):
    async def test(sim):
        honest, b = await sim.add("a", OTHER), await sim.add("b")
        notice = give(honest, PAYLOAD)
        liar = Liar(sim, notice, leaves, chunk)
        await liar.start()
        await asyncio.sleep(2)
        await liar.announce()
        await asyncio.sleep(1)
        assert not has(b, notice)
        await honest.join(TOPIC)
        await within(20, lambda: has(b, notice))
        key = liar.fabric.key
        assert b.store.blamed == ([(key, code)] if code else [])
        await liar.fabric.close()

    simulate(test)


def test_a_signed_size_that_is_not_the_payloads_blames_no_relay(simulate):
    async def test(sim):
        a, b = await sim.add("a"), await sim.add("b")
        notice = give(a, PAYLOAD, payload_bytes=len(PAYLOAD) - 1)
        await a.publish(TOPIC, notice.envelope)
        await within(10, lambda: b.stats.refused == {notice.id: "payload.size"})
        await asyncio.sleep(130)
        assert not has(b, notice)
        assert not b.store.blamed

    simulate(test)


def test_a_forged_envelope_blames_its_relay_and_is_not_passed_on(simulate):
    async def test(sim):
        a, b = await sim.add("a"), await sim.add("b")
        liar = Liar(sim, notice_of(b"x", author("alice")), LEAVES, lambda _: None)
        forged = bytearray(liar.notice.envelope)
        forged[-1] ^= 1
        liar.notice = replace(liar.notice, envelope=bytes(forged))
        await liar.start()
        await asyncio.sleep(2)
        await liar.announce()
        await asyncio.sleep(5)
        for member in (a, b):
            assert member.store.blamed == [(liar.fabric.key, "sig")]
        await liar.fabric.close()

    simulate(test)


def test_a_request_out_of_turn_or_beyond_the_end_costs_one_stream(simulate):
    async def ask(fabric, peer, *requests):
        stream = await fabric.open_stream(peer, BLOB_PROTOCOL, timeout_s=5)
        answers = []
        for request in requests:
            await stream.send(encode(request))
            frame = await stream.recv(5)
            answers.append(frame if frame is None else decode(frame))
        return answers

    async def test(sim):
        a = await sim.add("a")
        notice, stranger = give(a, PAYLOAD), sim.fabric("s")
        await stranger.start()
        await stranger.join(TOPIC)
        await asyncio.sleep(2)
        await RawPeer(stranger, a.fabric.key).heads(TOPIC)  # or it would be told of nothing
        known = Fetch(notice.id)
        assert await ask(stranger, a.fabric.key, Fetch(bytes(32))) == [Absent()]
        last = Chunk(5, PAYLOAD[5 * CHUNK_BYTES :])
        assert await ask(stranger, a.fabric.key, known, AskChunk(5)) == [LEAVES, last]
        for requests in ([AskChunk(0)], [known, AskChunk(6)], [known, Absent()]):
            with pytest.raises(StreamReset):
                await ask(stranger, a.fabric.key, *requests)
        assert not a.stats.failures
        await stranger.close()

    simulate(test)
