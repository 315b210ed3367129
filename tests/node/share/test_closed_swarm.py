"""A closed swarm is read by nobody outside: real nodes, and a stranger that speaks by hand."""

import asyncio
from contextlib import ExitStack, asynccontextmanager

import pytest

from hivelearn.node.share.library import Library
from hivelearn.patch.notice import read_envelope
from hivelearn.swarm.fabrics.lan import open_lan
from hivelearn.swarm.fabrics.lan_options import LanOptions
from hivelearn.swarm.fabrics.memory import MemoryNetwork, MemoryOptions, open_memory
from hivelearn.swarm.messages import Absent, Leaves
from hivelearn.testing.fabric_contract import until
from hivelearn.testing.raw_peer import RawPeer

SECRET = "hush"


@pytest.fixture(params=["memory", "lan"])
def both(request, make, author):
    """A node that published in a closed swarm first and in an open one then; how to meet it."""
    _, learnt = author
    node, network = make("both"), MemoryNetwork()
    how = {
        "memory": {"fabric": "memory", "network": network},
        "lan": {"listen": "127.0.0.1:0", "discover": False},
    }
    with ExitStack() as closing:
        hidden = closing.enter_context(node.join("diary", secret=SECRET, **how[request.param]))
        opened = closing.enter_context(node.join("yes", "ja"))
        diaries = [
            hidden.publish(node.seal(learnt.adapter, domain="diary", licence=str(n)))
            for n in range(2)
        ]
        public = [
            opened.publish(node.seal(learnt.adapter, domain=domain)) for domain in ("yes", "ja")
        ]

        def fabric():
            if request.param == "memory":
                return open_memory(b"s" * 32, MemoryOptions(network))
            return open_lan(b"s" * 32, LanOptions("127.0.0.1:0", (hidden.address,), discover=False))

        yield node, fabric, (hidden, diaries), (opened, public)


@asynccontextmanager
async def stranger(fabric, node, *joined):
    peer = RawPeer(fabric, node.context.identity.device)
    await fabric.start()
    for topic in joined:
        await fabric.join(topic)
    try:
        await until(lambda: peer.target in fabric.peers())
        for topic in joined:
            await until(lambda topic=topic: fabric.in_topic(peer.target, topic))
        yield peer
    finally:
        await fabric.close()


def test_a_stranger_in_the_open_topics_learns_and_gets_nothing_of_the_closed_one(both, kit):
    node, fabric, (_, diaries), (opened, public) = both
    lanes, secret = list(opened.topics.values()), {one.id for one in diaries}

    async def attack():
        async with stranger(fabric(), node, *lanes) as thief:
            told = {patch for heads in (await thief.heads(*lanes)).values() for patch in heads}
            bodies = [
                read_envelope(one, now_s=kit.NOW_S).body for one in await thief.envelopes(*told)
            ]
            named = {body.prev for body in bodies} - {None}
            answers = [(await thief.blob(one))[1] for one in {*secret, *named, bytes(32)} - told]
            return told, bodies, named, answers, await thief.envelopes(*secret)

    told, bodies, named, answers, envelopes = asyncio.run(attack())
    assert told == {one.id for one in public}
    assert named <= told
    assert answers == [Absent()] * 3  # two that are here, one that nobody has
    assert envelopes == []
    # Nor do numbers or epochs tell that there is another feed.
    assert sorted(body.seq for body in bodies) == [1, 2]
    assert {body.epoch for body in bodies}.isdisjoint(one.body.epoch for one in diaries)


def test_a_member_gets_what_it_was_told_until_this_node_leaves(both):
    node, fabric, (hidden, diaries), _ = both
    lane = hidden.topics["diary"]

    async def read():
        async with stranger(fabric(), node, lane) as member:
            told = await member.heads(lane)
            _, before = await member.blob(diaries[0].id)
            await asyncio.to_thread(hidden.close)
            _, after = await member.blob(diaries[0].id)
            return told, before, after, await member.envelopes(diaries[0].id)

    told, before, after, envelopes = asyncio.run(read())
    assert set(told[lane]) == {one.id for one in diaries}
    assert isinstance(before, Leaves)
    assert after == Absent()
    assert envelopes == []


def test_what_a_third_author_said_in_the_closed_swarm_is_not_named_in_the_open_one(
    make, kit, author
):
    """The node between two swarms passes on nothing, though both are about one domain."""
    owner, patch = author
    network = MemoryNetwork()
    how = {"fabric": "memory", "network": network}
    between = make("between")
    with (
        owner.join("yes", secret=SECRET, **how) as theirs,
        between.join("yes", secret=SECRET, **how) as ours,
        between.join("yes") as opened,
    ):
        told = theirs.publish(patch)
        for _ in range(10):
            ours.sync(2.0)
            if between.context.shelf.get(told.id):
                break
        assert between.context.shelf.get(told.id).state == "quarantined"
        lane = opened.topics["yes"]

        async def attack():
            async with stranger(
                open_memory(b"s" * 32, MemoryOptions(network)), between, lane
            ) as thief:
                heads = await thief.heads(lane)
                return heads, (await thief.blob(told.id))[1], await thief.envelopes(told.id)

        assert asyncio.run(attack()) == ({lane: ()}, Absent(), [])


def test_what_lies_half_fetched_of_a_closed_swarm_is_no_part_of_an_open_record(make, kit, author):
    """Killed before it was accepted; a stranger who knows its root signs that root in the open."""
    owner, learnt = author
    node = make("victim")
    library = Library(node.context)
    library.open(b"c" * 32, "yes", swarm=b"s" * 32)
    library.open(b"o" * 32, "yes")
    node.vouch(owner.key)
    secret, stolen = (kit.notice(kit.sign(who, learnt.adapter)) for who in (owner, make("thief")))
    assert library.wants(b"c" * 32, secret)
    library.partial(secret).write_bytes(learnt.adapter.to_bytes())
    assert library.wants(b"o" * 32, stolen)
    assert stolen.body.payload_root == secret.body.payload_root
    assert not library.partial(stolen).exists()
    with node.context.store.writing("receive"):
        library.accept(secret, library.partial(secret))
    assert node.context.shelf.get(secret.id).state == "quarantined"
