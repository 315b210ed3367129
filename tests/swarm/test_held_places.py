"""Strangers want our places, our patience and our ears; a friend's patch comes all the same."""

import asyncio
import random
from functools import partial

import pytest

from hivelearn.patch import chunks
from hivelearn.patch.chunks import CHUNK_BYTES, leaf, leaves_of
from hivelearn.swarm.context import MemberConfig
from hivelearn.swarm.fabrics.fabric_table import open_fabric
from hivelearn.swarm.member import Member
from hivelearn.swarm.messages import (
    BLOB_PROTOCOL,
    Absent,
    Announce,
    AskChunk,
    Chunk,
    Leaves,
    decode,
    encode,
)
from hivelearn.testing.clock import ManualClock
from hivelearn.testing.fabric_contract import loopback_options, run_fabrics, seed_of, until
from hivelearn.testing.folder_store import FolderStore, author, notice_of
from hivelearn.testing.simulation import TOPIC, has, run_simulation, within

BLOCK = bytes(CHUNK_BYTES)
FRIEND = author("alice")
PAYLOAD = random.Random(2).randbytes(5 * CHUNK_BYTES + 9)
LEAVES = Leaves(b"".join(leaves_of(PAYLOAD)))
SLOWLY_S = 4.8  # just before whoever sends nothing is left
FEW_S = 6.0


def large(name, number):
    """Return a notice of ``name``'s and its leaves: two hundred chunks that are all alike."""
    leaves = [leaf(BLOCK)] * (200 + number)
    notice = notice_of(
        b"x", author(name), seq=number,
        payload_root=chunks.root(leaves), payload_bytes=len(leaves) * CHUNK_BYTES,
    )  # fmt: skip
    return notice, Leaves(b"".join(leaves))


class Stranger:
    """A peer that speaks the protocol, announces ``told`` and serves in its own manner."""

    def __init__(self, fabric, told, manner):
        self.fabric, self.told, self.manner = fabric, dict(told), manner
        self.served = 0

    async def start(self):
        self.fabric.handle(BLOB_PROTOCOL, self.serve)
        await self.fabric.start()
        await self.fabric.join(TOPIC)

    async def announce(self):
        for notice, _ in self.told.values():
            await self.fabric.publish(TOPIC, encode(Announce(notice.envelope, held=True)))

    async def serve(self, _peer, stream):
        patch = decode(await stream.recv(30)).patch
        self.served += 1
        leaves = self.told[patch][1]
        await self.manner(stream, leaves, None if leaves is LEAVES else BLOCK)


async def answers(stream, block, wait_s, most):
    for _ in range(most):
        await asyncio.sleep(wait_s)
        frame = await stream.recv(60)
        if frame is None:
            return
        match decode(frame):
            case AskChunk(index):
                start = index * CHUNK_BYTES
                data = block or PAYLOAD[start : start + CHUNK_BYTES]
                await stream.send(encode(Chunk(index, data)))
    await asyncio.sleep(1_000)


async def drips(stream, leaves, block):
    await asyncio.sleep(SLOWLY_S)
    await stream.send(encode(leaves))
    await answers(stream, block, SLOWLY_S, 1_000)


async def says_nothing(_stream, _leaves, _block):
    await asyncio.sleep(1_000)


async def tells_leaves_and_stalls(stream, leaves, _block):
    await stream.send(encode(leaves))
    await asyncio.sleep(1_000)


async def is_quick_then_stalls(stream, leaves, block):
    await stream.send(encode(leaves))
    await answers(stream, block, 0.0, 3)


async def has_nothing(stream, _leaves, _block):
    await stream.send(encode(Absent()))


MANNERS = {
    "chunk by chunk, as slow as may be": drips,
    "nothing at all": says_nothing,
    "leaves, then nothing": tells_leaves_and_stalls,
    "quick, then nothing": is_quick_then_stalls,
    "never there": has_nothing,
}
CROWDS = {  # relays, keys of each, patches of each key
    "four patches": (1, 1, 4),
    "63 patches": (1, 1, 63),
    "many keys": (1, 30, 2),
    "many relays": (12, 1, 4),
}


def crowd(fabric, manner, relays, keys, patches):
    def told(relay):
        for key in range(keys):
            for number in range(patches):
                notice, leaves = large(f"stranger {relay} {key}", number)
                yield notice.id, (notice, leaves)

    return [Stranger(fabric(f"s{n}"), told(n), manner) for n in range(relays)]


@pytest.fixture
def simulate(tmp_path):
    """Run an async test in a simulation."""
    return partial(run_simulation, tmp_path, latency_s=0.01)


async def besieged(sim, strangers):
    """Return a member whose places strangers have had all the time to take."""
    b = await sim.add("b")
    b.store.trusted.add(FRIEND.author)
    for one in strangers:
        await one.start()
    await asyncio.sleep(3)
    for one in strangers:
        await one.announce()
    await asyncio.sleep(20)
    return b


OURS = notice_of(PAYLOAD, FRIEND)


async def holder(sim, name):
    member = await sim.add(name)
    member.store.put(OURS, PAYLOAD)
    return member


async def leave(strangers):
    for one in strangers:
        await one.fabric.close()


@pytest.mark.parametrize("size", CROWDS.values(), ids=CROWDS.keys())
@pytest.mark.parametrize("manner", MANNERS.values(), ids=MANNERS.keys())
def test_a_friends_patch_comes_soon_whatever_strangers_do(simulate, manner, size):
    async def test(sim):
        strangers = crowd(sim.fabric, manner, *size)
        b = await besieged(sim, strangers)
        await holder(sim, "alice")
        await within(FEW_S, lambda: has(b, OURS))
        await leave(strangers)

    simulate(test)


@pytest.mark.parametrize("name", ["alice", "somebody honest"])
@pytest.mark.parametrize("manner", MANNERS.values(), ids=MANNERS.keys())
def test_relays_that_only_claim_a_friends_patch_do_not_keep_it_from_us(simulate, manner, name):
    """Twelve of them, so that all streams of the payload are theirs."""

    async def test(sim):
        told = {OURS.id: (OURS, LEAVES)}
        relays = [Stranger(sim.fabric(f"r{n}"), told, manner) for n in range(12)]
        b = await besieged(sim, relays)
        assert sum(relay.served for relay in relays) >= 8 or has(b, OURS)
        await holder(sim, name)
        await within(FEW_S, lambda: has(b, OURS))
        assert b.store.payload(OURS.id).read_bytes() == PAYLOAD
        await leave(relays)

    simulate(test)


def test_friends_patches_that_come_slowly_give_way_to_one_that_comes(simulate):
    """Whoever has old patches of our friends could drip all of them into the reserved places."""

    async def test(sim):
        slow = {
            notice.id: (notice, leaves) for notice, leaves in (large("bob", n) for n in range(9))
        }
        relay = Stranger(sim.fabric("r"), slow, drips)
        b = await sim.add("b")
        b.store.trusted |= {FRIEND.author, author("bob").author}
        await relay.start()
        await asyncio.sleep(3)
        await relay.announce()
        await asyncio.sleep(3)
        await holder(sim, "alice")
        await within(2 * FEW_S, lambda: has(b, OURS))
        await leave([relay])

    simulate(test)


def test_somebody_vouched_for_meanwhile_waits_no_longer(simulate):
    async def test(sim):
        strangers = crowd(sim.fabric, drips, 12, 1, 4)
        b = await besieged(sim, strangers)
        b.store.trusted.clear()
        relay = Stranger(sim.fabric("r"), {OURS.id: (OURS, LEAVES)}, says_nothing)
        await relay.start()
        await asyncio.sleep(3)
        await relay.announce()
        await asyncio.sleep(3)
        assert not b._fetcher.transfer.downloads[OURS.id].trusted
        b.store.trusted.add(FRIEND.author)
        await holder(sim, "alice")
        b.pull_all(judge_again=True)
        await within(FEW_S, lambda: has(b, OURS))
        await leave([*strangers, relay])

    simulate(test)


def test_strangers_that_are_silent_do_not_stop_an_honest_stranger_for_long(simulate):
    async def test(sim):
        strangers = crowd(sim.fabric, says_nothing, 1, 1, 63)
        b = await besieged(sim, strangers)
        await asyncio.sleep(60)
        b.store.trusted.clear()
        await holder(sim, "carol")
        await within(2 * FEW_S, lambda: has(b, OURS))
        assert strangers[0].served < 20, "and it is asked ever less"
        await leave(strangers)

    simulate(test)


@pytest.mark.parametrize("manner", [drips, says_nothing], ids=lambda manner: manner.__name__)
def test_over_a_real_network_a_friends_patch_comes_too(tmp_path, manner):
    async def test(fabrics):
        def member(name, *others):
            told = [other.address for other in others]
            options = loopback_options("lan", fabrics.network, told)
            fabric, store = open_fabric("lan", seed_of(name), options), FolderStore(tmp_path / name)
            return Member(fabric, store, MemberConfig(unix_s=ManualClock()))

        b = member("b")
        b.store.trusted.add(FRIEND.author)
        await b.start()
        await b.join(TOPIC)
        options = loopback_options("lan", fabrics.network, [b.fabric.address])
        (relay,) = crowd(lambda name: open_fabric("lan", seed_of(name), options), manner, 1, 1, 8)
        await relay.start()
        await until(lambda: relay.fabric.key in b.fabric.peers())
        while len(b.unfinished()) < 8 or relay.served < 2:  # it hears no post before it shows
            await relay.announce()
            await asyncio.sleep(0.02)
        a = member("alice", b.fabric)
        a.store.put(OURS, PAYLOAD)
        await a.start()
        await a.join(TOPIC)
        await until(lambda: has(b, OURS), FEW_S)
        for one in (a, b, relay.fabric):
            await one.close()

    run_fabrics("lan", test)
