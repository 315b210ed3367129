"""Envelopes and payloads go to whom they were told, where both are now; to others all is absent."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import pytest

from hivelearn.patch.chunks import CHUNK_BYTES
from hivelearn.swarm.messages import (
    BLOB_PROTOCOL,
    Absent,
    Announce,
    AskChunk,
    Chunk,
    Have,
    Leaves,
    decode,
    encode,
)
from hivelearn.swarm.told import Told
from hivelearn.testing.folder_store import author, notice_of
from hivelearn.testing.raw_peer import RawPeer, say
from hivelearn.testing.simulation import TOPIC, give, has, run_simulation, within

OTHER = b"o" * 32
PAYLOAD = bytes(3 * CHUNK_BYTES)


@pytest.fixture
def simulate(tmp_path):
    """Run an async test in a simulation."""
    return partial(run_simulation, tmp_path)


@asynccontextmanager
async def raw(sim, member, *joined):
    """A bare fabric in ``joined``, connected to ``member``, which has seen where it is."""
    peer = RawPeer(sim.fabric("raw"), member.fabric.key)
    await peer.fabric.start()
    for topic in joined:
        await peer.fabric.join(topic)
    await asyncio.sleep(2)
    try:
        yield peer
    finally:
        await peer.fabric.close()


async def told_by_sync(peer, _member, notice):
    assert await peer.heads(TOPIC) == {TOPIC: (notice.id,)}


async def told_by_gossip(_peer, member, notice):
    await member.publish(TOPIC, notice.envelope)


async def told_and_the_node_left(peer, member, notice):
    await told_by_sync(peer, member, notice)
    await member.leave(TOPIC)


async def told_and_the_node_came_back(peer, member, notice):
    await told_and_the_node_left(peer, member, notice)
    await member.join(TOPIC)


async def told_and_the_peer_left(peer, member, notice):
    await told_by_sync(peer, member, notice)
    await peer.fabric.leave(TOPIC)
    await asyncio.sleep(1)


async def told_in_an_earlier_connection(peer, member, notice):
    await told_by_sync(peer, member, notice)
    await peer.fabric.close()
    await asyncio.sleep(2)
    await peer.fabric.start()
    await asyncio.sleep(2)
    assert peer.fabric.key in member.fabric.peers()


async def told_nothing(_peer, _member, _notice):
    pass


async def told_of_another_topic(peer, member, _notice):
    await member.join(OTHER)
    member.store.heads = lambda topic: []
    assert await peer.heads(OTHER) == {OTHER: ()}


WHO = {
    "a member that was told by sync": ([TOPIC], told_by_sync, True),
    "a member that was told by gossip": ([TOPIC], told_by_gossip, True),
    "a member that was not told": ([TOPIC], told_nothing, False),
    "a stranger that shares no topic": ([], told_nothing, False),
    "a stranger that shares no topic when it is posted": ([], told_by_gossip, False),
    "a stranger that shares another topic": ([OTHER], told_of_another_topic, False),
    "one that knows the topic and never joined it": ([], told_by_sync, False),
    "one that was told before this node left": ([TOPIC], told_and_the_node_left, False),
    "one that was told before this node left and came back": (
        [TOPIC],
        told_and_the_node_came_back,
        False,
    ),
    "one that left after it was told": ([TOPIC], told_and_the_peer_left, False),
    "one that was told when it was here before": ([TOPIC], told_in_an_earlier_connection, False),
}


@pytest.mark.parametrize(("joined", "prepare", "given"), WHO.values(), ids=WHO.keys())
def test_a_payload_is_given_only_to_whom_it_was_told(simulate, joined, prepare, given):
    async def test(sim):
        member = await sim.add("a")
        notice = give(member, PAYLOAD)
        async with raw(sim, member, *joined) as peer:
            await prepare(peer, member, notice)
            looked = []
            find = member.store.payload
            member.store.payload = lambda patch, where: looked.append(patch) or find(patch, where)
            stream, answer = await peer.blob(notice.id)
            _, unknown = await peer.blob(bytes(32))
            assert unknown == Absent()
            assert isinstance(answer, Leaves if given else Absent)
            # Neither the answer nor its delay tells an unknown payload from a secret one.
            assert looked == ([notice.id] if given else [])
            stream.abort()

    simulate(test)


@pytest.mark.parametrize("leaves", ["the node", "the peer"])
def test_a_stream_that_began_in_time_ends_when_one_of_the_two_leaves(simulate, leaves):
    async def test(sim):
        member = await sim.add("a")
        notice = give(member, PAYLOAD)
        async with raw(sim, member, TOPIC) as peer:
            await told_by_sync(peer, member, notice)
            stream, _ = await peer.blob(notice.id)
            (chunk,) = await say(stream, AskChunk(0))
            assert isinstance(chunk, Chunk)
            await (member if leaves == "the node" else peer.fabric).leave(TOPIC)
            await asyncio.sleep(1)
            assert await say(stream, AskChunk(1)) == [Absent()]

    simulate(test)


def test_an_envelope_is_not_given_after_its_topic_was_left(simulate):
    async def test(sim):
        member = await sim.add("a")
        notice = give(member, PAYLOAD)
        async with raw(sim, member, TOPIC) as peer:
            await told_by_sync(peer, member, notice)
            assert await peer.envelopes(notice.id, bytes(32)) == [notice.envelope]
            await member.leave(TOPIC)
            assert await peer.envelopes(notice.id) == []

    simulate(test)


def test_a_member_that_fetched_tells_the_others_and_serves_them(simulate):
    async def test(sim):
        a, b = await sim.add("a"), await sim.add("b")
        async with raw(sim, b, TOPIC) as peer:
            notice = give(a, PAYLOAD)
            await a.publish(TOPIC, notice.envelope)
            await within(10, lambda: has(b, notice))
            stream, answer = await peer.blob(notice.id)  # it heard b say "Have"
            assert isinstance(answer, Leaves)
            await stream.send(encode(AskChunk(2)))

    simulate(test)


def test_what_was_told_is_kept_by_peer_and_by_topic():
    here = {(b"p", b"t"), (b"p", b"u"), (b"q", b"t")}
    told = Told(lambda peer, topic: (peer, topic) in here)
    told.tell(b"p", b"t", [b"1", b"2"])
    told.tell(b"p", b"u", [b"1"])
    assert told.where(b"p", b"1") == {b"t", b"u"}
    assert told.where(b"p", b"2") == {b"t"}
    assert told.where(b"q", b"1") == frozenset()
    here.remove((b"p", b"t"))
    assert told.where(b"p", b"1") == {b"u"}
    told.leave(b"u")
    assert told.where(b"p", b"1") == frozenset()
    here.add((b"p", b"t"))
    told.forget(b"p")
    assert told.where(b"p", b"1") == frozenset()


@pytest.mark.parametrize(("posted_in", "asked"), [(OTHER, False), (TOPIC, True)])
def test_who_says_it_has_a_payload_is_asked_only_where_that_was_heard_of(
    simulate, posted_in, asked
):
    """Else an id from anywhere would tell who is fetching it, and in which swarm."""

    async def test(sim):
        victim = await sim.add("victim", TOPIC, OTHER)
        slow, spy = sim.fabric("slow"), sim.fabric("spy")
        seen = []

        async def waits(_peer, stream):
            await stream.recv(30)
            await asyncio.sleep(100)

        async def notes(_peer, stream):
            seen.append(decode(await stream.recv(30)))
            await asyncio.sleep(5)

        slow.handle(BLOB_PROTOCOL, waits)
        spy.handle(BLOB_PROTOCOL, notes)
        for fabric, topic in ((slow, TOPIC), (spy, posted_in)):
            await fabric.start()
            await fabric.join(topic)
        await asyncio.sleep(2)
        assert victim.fabric.in_topic(spy.key, posted_in)
        notice = notice_of(PAYLOAD, author("alice"))
        await slow.publish(TOPIC, encode(Announce(notice.envelope, held=True)))
        await asyncio.sleep(1)
        await spy.publish(posted_in, encode(Have(notice.id)))
        await asyncio.sleep(3)
        assert bool(seen) is asked
        await spy.close()
        await slow.close()

    simulate(test)
