"""What a stranger's byte costs, counted: signatures checked, hashes made, sessions answered."""

import asyncio
from functools import partial

import pytest

from hivelearn.patch.notice import read_envelope
from hivelearn.swarm import context, topics
from hivelearn.swarm.fabric import StreamReset
from hivelearn.swarm.limits import SwarmLimits
from hivelearn.swarm.messages import (
    SYNC_PROTOCOL,
    Announce,
    AskHeads,
    Done,
    Greeting,
    Heads,
    Want,
    decode,
    encode,
)
from hivelearn.testing.folder_store import author, notice_of
from hivelearn.testing.simulation import TOPIC, give, has, run_simulation, within

LIMITS = SwarmLimits()


@pytest.fixture
def simulate(tmp_path):
    """Run an async test in a simulation."""
    return partial(run_simulation, tmp_path, latency_s=0.01)


@pytest.fixture
def checked(monkeypatch):
    """Return a list of all envelopes that any member verifies."""
    found = []

    def counting(envelope, *, now_s):
        found.append(envelope)
        return read_envelope(envelope, now_s=now_s)

    monkeypatch.setattr(context, "read_envelope", counting)
    return found


NOTICES = {one.id: one for one in (notice_of(b"%d" % i, author("m"), seq=i) for i in range(1_500))}


async def tells_of_everything(fabric, peer, stream):
    """Answer one sync session: fifteen hundred patches in the one topic."""
    nonce = decode(await stream.recv(30)).nonce
    await stream.send(encode(Greeting(b"n" * 32)))
    while (frame := await stream.recv(30)) is not None:
        match decode(frame):
            case AskHeads():
                tag = topics.tag(TOPIC, fabric.key, topics.salt(nonce, b"n" * 32))
                await stream.send(encode(Heads(tag, tuple(NOTICES))))
            case Want(patches):
                for patch in patches:
                    await stream.send(encode(Announce(NOTICES[patch].envelope, held=True)))
        await stream.send(encode(Done()))


def test_a_peer_that_tells_of_thousands_by_sync_is_heard_little_by_little(simulate, checked):
    async def test(sim):
        b = await sim.add("b")
        b.store.refuse |= set(NOTICES)
        fabric = sim.fabric("m")
        fabric.handle(SYNC_PROTOCOL, partial(tells_of_everything, fabric))
        await fabric.start()
        await fabric.join(TOPIC)
        await asyncio.sleep(30)
        assert len(checked) <= LIMITS.notices_burst + 31 * LIMITS.notices_per_s
        assert len(checked) > LIMITS.notices_burst
        assert len(set(checked)) == len(checked), "none of them twice"
        await asyncio.sleep(90)
        assert len(checked) == len(NOTICES), "and yet all are heard in the end"
        await fabric.close()

    simulate(test)


def test_a_flood_of_announcements_buys_few_checks_and_hides_no_friends_post(simulate, checked):
    async def test(sim):
        b, a = await sim.add("b"), await sim.add("a")
        b.store.refuse |= set(NOTICES)
        a.store.refuse |= set(NOTICES)
        flooders = [sim.fabric(f"m{n}") for n in range(3)]
        for one in flooders:
            await one.start()
            await one.join(TOPIC)
        await asyncio.sleep(3)
        frames = [encode(Announce(one.envelope, held=True)) for one in NOTICES.values()]
        for number, frame in enumerate(frames):
            await flooders[number % 3].publish(TOPIC, frame)
        notice = give(a, b"news")
        await a.publish(TOPIC, notice.envelope)
        for frame in frames[:300]:
            await flooders[0].publish(TOPIC, frame)
        await within(2, lambda: has(b, notice))
        assert len(checked) <= 2 * (3 * LIMITS.posts_burst + 1)
        for one in flooders:
            await one.close()

    simulate(test)


def test_posts_are_recognised_by_hashes_made_once(simulate, monkeypatch):
    made = []
    tag = topics.tag
    monkeypatch.setattr(topics, "tag", lambda *parts: made.append(parts) or tag(*parts))

    async def test(sim):
        others = [bytes([number]) * 32 for number in range(100)]
        await sim.add("b", *others)
        fabric = sim.fabric("m")
        await fabric.start()
        await asyncio.sleep(3)
        before = len(made)
        (link,) = fabric._links.values()  # what it posts no honest fabric would
        for _ in range(64):
            link[0].post(bytes(32), b"x")
        await asyncio.sleep(1)
        assert len(made) - before <= len(others)
        await fabric.close()

    simulate(test)


def test_sessions_without_end_are_answered_as_often_as_anybody_needs(simulate):
    async def test(sim):
        b = await sim.add("b")
        asked = []
        b.store.heads = lambda topic: asked.append(topic) or []
        fabric = sim.fabric("m")
        await fabric.start()
        await asyncio.sleep(3)
        asked.clear()
        refused = 0
        for _ in range(300):
            stream = await fabric.open_stream(b.fabric.key, SYNC_PROTOCOL, timeout_s=5)
            await stream.send(encode(Greeting(b"n" * 32)))
            try:
                salt = topics.salt(b"n" * 32, decode(await stream.recv(5)).nonce)
                tag = topics.tag(TOPIC, fabric.key, salt)
                await stream.send(encode(AskHeads((tag,))))
                await stream.recv(5)
            except StreamReset:
                refused += 1
            stream.abort()
        assert len(asked) <= LIMITS.syncs_burst + 30
        assert refused >= 200
        assert not b.store.blamed
        await fabric.close()

    simulate(test)
