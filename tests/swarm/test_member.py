"""Whole members on a memory network in virtual time: what must converge, converges."""

import asyncio
import random
from functools import partial

import pytest

from hivelearn.errors import PeerError
from hivelearn.patch.chunks import CHUNK_BYTES
from hivelearn.swarm.events import PayloadRefused, PayloadStored, PeerUp
from hivelearn.testing.clock import run_virtual
from hivelearn.testing.simulation import TOPIC, Simulation, give, has, run_simulation, within

OTHER = b"o" * 32
PAYLOAD = random.Random(1).randbytes(5 * CHUNK_BYTES + 77)


@pytest.fixture
def simulate(tmp_path):
    """Run an async test in a simulation."""
    return partial(run_simulation, tmp_path)


def test_what_one_publishes_all_receive_whole(simulate):
    async def test(sim):
        members = [await sim.add(name) for name in "abcde"]
        await asyncio.sleep(2)
        notice = give(members[0], PAYLOAD)
        await members[0].publish(TOPIC, notice.envelope)
        await within(5, lambda: all(has(one, notice) for one in members))
        assert all(one.store.payload(notice.id).read_bytes() == PAYLOAD for one in members)
        assert not any(one.store.blamed or one.stats.failures for one in members)

    simulate(test, latency_s=0.02)


def test_bad_weather_costs_time_and_nothing_else(simulate):
    async def test(sim):
        members = [await sim.add(name) for name in "abcd"]
        await asyncio.sleep(2)
        notices = []
        for seq, member in enumerate(members):
            notices.append(give(member, PAYLOAD + bytes([seq]), seq=seq))
            await member.publish(TOPIC, notices[-1].envelope)
        await within(150, lambda: all(has(m, n) for m in members for n in notices))

    simulate(test, latency_s=0.05, loss=0.2)


def test_a_late_joiner_learns_what_nobody_says_again(simulate):
    async def test(sim):
        a = await sim.add("a")
        notices = [give(a, PAYLOAD + bytes([i]), seq=i) for i in range(70)]  # over one Want
        for notice in notices:
            await a.publish(TOPIC, notice.envelope)
        late = await sim.add("z")
        await within(20, lambda: all(has(late, one) for one in notices))

    simulate(test)


def test_a_healed_partition_converges(simulate):
    async def test(sim):
        members = [await sim.add(name) for name in "abcd"]
        await within(5, lambda: all(len(one.fabric.peers()) == 3 for one in members))
        left, right = members[:2], members[2:]
        sim.conditions.part(*([one.fabric.key for one in side] for side in (left, right)))
        await asyncio.sleep(30)
        assert [len(one.fabric.peers()) for one in members] == [1, 1, 1, 1]
        ours, theirs = give(left[0], b"ours"), give(right[0], b"theirs", seq=1)
        await left[0].publish(TOPIC, ours.envelope)
        await right[0].publish(TOPIC, theirs.envelope)
        await asyncio.sleep(5)
        assert has(left[1], ours)
        assert not has(right[1], ours)
        sim.conditions.heal()
        await within(10, lambda: all(has(one, n) for one in members for n in (ours, theirs)))

    simulate(test, latency_s=0.01)


def test_who_joins_a_topic_later_than_the_connection_is_not_made_to_wait(simulate):
    async def test(sim):
        a, b = await sim.add("a", OTHER), await sim.add("b", TOPIC)
        notice = give(b, PAYLOAD)
        await asyncio.sleep(5)
        assert not has(a, notice)
        await a.join(TOPIC)
        await within(3, lambda: has(a, notice))
        back = give(a, b"from a", seq=1)  # b pulled before a was there, and has no post to hear
        await a.leave(OTHER)
        c = await sim.add("c", OTHER)
        await asyncio.sleep(130)  # two rounds of anti-entropy
        assert has(b, back)
        assert not c.store.held

    simulate(test)


def test_every_fetch_makes_a_provider(simulate):
    async def test(sim):
        a, b = await sim.add("a"), await sim.add("b")
        notice = give(a, PAYLOAD)
        await a.publish(TOPIC, notice.envelope)
        await within(10, lambda: has(b, notice))
        await a.close()
        c = await sim.add("c")
        await within(10, lambda: has(c, notice))

    simulate(test)


def test_an_unwanted_patch_is_never_fetched_until_the_node_changes_its_mind(simulate):
    async def test(sim):
        a, b = await sim.add("a"), await sim.add("b")
        notice = give(a, PAYLOAD)
        b.store.refuse.add(notice.id)
        await a.publish(TOPIC, notice.envelope)
        await asyncio.sleep(100)
        assert not has(b, notice)
        b.store.refuse.clear()
        b.pull_all(judge_again=True)
        await within(3, lambda: has(b, notice))

    simulate(test)


def test_a_provider_that_dies_in_the_middle_costs_only_what_it_owed(simulate):
    async def test(sim):
        a, b = await sim.add("a"), await sim.add("b")
        c = await sim.add("c", OTHER)
        payload = random.Random(5).randbytes(60 * CHUNK_BYTES)
        notice = give(a, payload)
        c.store.put(notice, payload)
        file = b.store.partial(notice)
        await within(5, lambda: file.exists() and file.stat().st_size > 0)
        sim.conditions.part([a.fabric.key])  # unplugged, not closed: only silence tells
        assert not has(b, notice)
        before = sum(view.bytes_in for view in b.fabric.views())
        await c.join(TOPIC)
        await within(60, lambda: has(b, notice))
        assert b.store.payload(notice.id).read_bytes() == payload
        assert before > 0
        assert not b.store.blamed

    simulate(test, latency_s=0.02)


def test_a_resumed_fetch_asks_for_exactly_what_is_missing(simulate):
    async def test(sim):
        a, b = await sim.add("a"), await sim.add("b")
        notice = give(a, PAYLOAD)
        torn = bytearray(PAYLOAD[: 4 * CHUNK_BYTES + 9])  # the last write was cut short
        torn[CHUNK_BYTES] ^= 1  # and one chunk rotted
        b.store.partial(notice).write_bytes(torn)
        await within(10, lambda: has(b, notice))
        came = sum(view.bytes_in for view in b.fabric.views())
        missing = CHUNK_BYTES + CHUNK_BYTES + 77  # chunks 1, 4 and 5
        assert missing <= came < missing + 4_096
        assert b.store.payload(notice.id).read_bytes() == PAYLOAD

    simulate(test)


def test_the_lobby_tells_domains_and_nothing_else(simulate):
    async def test(sim):
        a, b = await sim.add("a"), await sim.add("b")
        await asyncio.sleep(2)
        await a.tell_domains(TOPIC, ("roman", "iso-date"))
        await within(2, lambda: sorted(b.stats.domains) == ["iso-date", "roman"])
        late = await sim.add("z")
        await within(5, lambda: sorted(late.stats.domains) == ["iso-date", "roman"])

    simulate(test)


def test_a_disk_that_is_full_is_told_and_tried_again(simulate):
    async def test(sim):
        a, b = await sim.add("a"), await sim.add("b")
        works, full = b.store.partial, [True]

        def cannot(notice):
            if full[0]:
                raise OSError(28, "No space left on device")
            return works(notice)

        b.store.partial = cannot
        notice = give(a, PAYLOAD)
        await a.publish(TOPIC, notice.envelope)
        await within(5, lambda: b.stats.failures)
        assert "No space left" in b.stats.failures[0]
        full[0] = False
        await within(100, lambda: has(b, notice))

    simulate(test)


@pytest.mark.parametrize("method", ["wants", "heads", "partial", "accept"])
def test_a_library_that_fails_for_a_moment_does_not_make_the_node_deaf(simulate, method):
    async def test(sim):
        a, b = await sim.add("a"), await sim.add("b")
        works = getattr(b.store, method)

        def fails(*_):
            raise ValueError("locked")

        setattr(b.store, method, fails)
        notice = give(a, PAYLOAD)
        await a.publish(TOPIC, notice.envelope)
        b.pull_all()
        await within(10, lambda: b.stats.failures)
        setattr(b.store, method, works)
        await within(150, lambda: has(b, notice))
        assert not b.store.blamed

    simulate(test)


def test_a_payload_that_the_library_refuses_after_all_is_not_fetched_again(simulate):
    async def test(sim):
        a, b = await sim.add("a"), await sim.add("b")
        times = []

        def refuse(notice, _payload):
            times.append(notice.id)
            raise PeerError("no adapter", fault="author", code="st.json")

        b.store.accept = refuse
        notice = give(a, PAYLOAD)
        await a.publish(TOPIC, notice.envelope)
        await asyncio.sleep(200)
        assert times == [notice.id]
        assert b.stats.refused == {notice.id: "st.json"}
        assert not b.store.blamed
        assert not b.unfinished()

    simulate(test)


def test_what_arrives_and_what_is_refused_is_told_to_the_observer(simulate):
    async def test(sim):
        a, b = await sim.add("a"), await sim.add("b")
        good, bad = give(a, PAYLOAD), give(a, PAYLOAD[1:], seq=1)
        accept = b.store.accept

        def refuse_bad(notice, payload):
            if notice.id == bad.id:
                raise PeerError("no adapter", fault="author", code="st.json")
            accept(notice, payload)

        b.store.accept = refuse_bad
        await within(20, lambda: has(b, good) and b.stats.refused)
        assert sim.events["b"][0] == PeerUp(a.fabric.key)
        assert set(sim.events["b"][1:]) == {PayloadStored(good), PayloadRefused(bad, "st.json")}

    simulate(test)


def test_an_observer_that_fails_is_recorded_and_stops_nothing(simulate):
    async def test(sim):
        def fails(_event):
            raise ZeroDivisionError

        a, b = await sim.add("a"), await sim.add("b", observe=fails)
        notice = give(a, PAYLOAD)
        await a.publish(TOPIC, notice.envelope)
        await within(10, lambda: has(b, notice))
        assert all("an observer failed" in one for one in b.stats.failures)
        assert len(b.stats.failures) == 2  # peer up, patch arrived

    simulate(test)


def test_the_same_seed_is_the_same_run(tmp_path):
    def once(folder):
        async def main():
            sim = Simulation(folder, latency_s=0.05, loss=0.1)
            members = [await sim.add(name) for name in "abc"]
            notice = give(members[0], PAYLOAD)
            await members[0].publish(TOPIC, notice.envelope)
            await within(100, lambda: all(has(one, notice) for one in members))
            then = asyncio.get_running_loop().time()
            traffic = [
                (view.bytes_in, view.bytes_out) for one in members for view in one.fabric.views()
            ]
            await sim.close()
            return then, traffic

        return run_virtual(main())

    assert once(tmp_path / "1") == once(tmp_path / "2")
