"""Whole members on a memory network in virtual time: what must converge, converges."""

import asyncio
import random
from functools import partial

import pytest

from hivelearn.errors import PeerError
from hivelearn.patch.chunks import CHUNK_BYTES
from hivelearn.testing.clock import run_virtual
from hivelearn.testing.town import TOPIC, Town, give, has, run_town, within

OTHER = b"o" * 32
PAYLOAD = random.Random(1).randbytes(5 * CHUNK_BYTES + 77)


@pytest.fixture
def town(tmp_path):
    """Run an async test in a town."""
    return partial(run_town, tmp_path)


def test_what_one_publishes_all_receive_whole(town):
    async def test(town):
        members = [await town.add(name) for name in "abcde"]
        await asyncio.sleep(2)
        notice = give(members[0], PAYLOAD)
        await members[0].publish(TOPIC, notice.envelope)
        await within(5, lambda: all(has(one, notice) for one in members))
        assert all(one.library.payload(notice.id).read_bytes() == PAYLOAD for one in members)
        assert not any(one.library.blamed or one.news.failures for one in members)

    town(test, latency_s=0.02)


def test_bad_weather_costs_time_and_nothing_else(town):
    async def test(town):
        members = [await town.add(name) for name in "abcd"]
        await asyncio.sleep(2)
        notices = []
        for seq, member in enumerate(members):
            notices.append(give(member, PAYLOAD + bytes([seq]), seq=seq))
            await member.publish(TOPIC, notices[-1].envelope)
        await within(150, lambda: all(has(m, n) for m in members for n in notices))

    town(test, latency_s=0.05, loss=0.2)


def test_a_late_joiner_learns_what_nobody_says_again(town):
    async def test(town):
        a = await town.add("a")
        notices = [give(a, PAYLOAD + bytes([i]), seq=i) for i in range(70)]  # over one Want
        for notice in notices:
            await a.publish(TOPIC, notice.envelope)
        late = await town.add("z")
        await within(20, lambda: all(has(late, one) for one in notices))

    town(test)


def test_a_healed_partition_converges(town):
    async def test(town):
        members = [await town.add(name) for name in "abcd"]
        await within(5, lambda: all(len(one.fabric.peers()) == 3 for one in members))
        left, right = members[:2], members[2:]
        town.weather.part(*([one.fabric.key for one in side] for side in (left, right)))
        await asyncio.sleep(30)
        assert [len(one.fabric.peers()) for one in members] == [1, 1, 1, 1]
        ours, theirs = give(left[0], b"ours"), give(right[0], b"theirs", seq=1)
        await left[0].publish(TOPIC, ours.envelope)
        await right[0].publish(TOPIC, theirs.envelope)
        await asyncio.sleep(5)
        assert has(left[1], ours)
        assert not has(right[1], ours)
        town.weather.heal()
        await within(10, lambda: all(has(one, n) for one in members for n in (ours, theirs)))

    town(test, latency_s=0.01)


def test_who_joins_a_topic_later_than_the_connection_is_not_made_to_wait(town):
    async def test(town):
        a, b = await town.add("a", OTHER), await town.add("b", TOPIC)
        notice = give(b, PAYLOAD)
        await asyncio.sleep(5)
        assert not has(a, notice)
        await a.join(TOPIC)
        await within(3, lambda: has(a, notice))
        back = give(a, b"from a", seq=1)  # b pulled before a was there, and has no post to hear
        await a.leave(OTHER)
        c = await town.add("c", OTHER)
        await asyncio.sleep(130)  # two rounds of anti-entropy
        assert has(b, back)
        assert not c.library.held

    town(test)


def test_every_fetch_makes_a_provider(town):
    async def test(town):
        a, b = await town.add("a"), await town.add("b")
        notice = give(a, PAYLOAD)
        await a.publish(TOPIC, notice.envelope)
        await within(10, lambda: has(b, notice))
        await a.close()
        c = await town.add("c")
        await within(10, lambda: has(c, notice))

    town(test)


def test_an_unwanted_patch_is_never_fetched_until_the_node_changes_its_mind(town):
    async def test(town):
        a, b = await town.add("a"), await town.add("b")
        notice = give(a, PAYLOAD)
        b.library.refuse.add(notice.id)
        await a.publish(TOPIC, notice.envelope)
        await asyncio.sleep(100)
        assert not has(b, notice)
        b.library.refuse.clear()
        b.pull_all(judge_again=True)
        await within(3, lambda: has(b, notice))

    town(test)


def test_a_provider_that_dies_in_the_middle_costs_only_what_it_owed(town):
    async def test(town):
        a, b = await town.add("a"), await town.add("b")
        c = await town.add("c", OTHER)
        payload = random.Random(5).randbytes(60 * CHUNK_BYTES)
        notice = give(a, payload)
        c.library.put(notice, payload)
        file = b.library.partial(notice)
        await within(5, lambda: file.exists() and file.stat().st_size > 0)
        town.weather.part([a.fabric.key])  # unplugged, not closed: only silence tells
        assert not has(b, notice)
        before = sum(view.bytes_in for view in b.fabric.views())
        await c.join(TOPIC)
        await within(60, lambda: has(b, notice))
        assert b.library.payload(notice.id).read_bytes() == payload
        assert before > 0
        assert not b.library.blamed

    town(test, latency_s=0.02)


def test_a_resumed_fetch_asks_for_exactly_what_is_missing(town):
    async def test(town):
        a, b = await town.add("a"), await town.add("b")
        notice = give(a, PAYLOAD)
        torn = bytearray(PAYLOAD[: 4 * CHUNK_BYTES + 9])  # the last write was cut short
        torn[CHUNK_BYTES] ^= 1  # and one chunk rotted
        b.library.partial(notice).write_bytes(torn)
        await within(10, lambda: has(b, notice))
        came = sum(view.bytes_in for view in b.fabric.views())
        missing = CHUNK_BYTES + CHUNK_BYTES + 77  # chunks 1, 4 and 5
        assert missing <= came < missing + 4_096
        assert b.library.payload(notice.id).read_bytes() == PAYLOAD

    town(test)


def test_the_lobby_tells_domains_and_nothing_else(town):
    async def test(town):
        a, b = await town.add("a"), await town.add("b")
        await asyncio.sleep(2)
        await a.tell_domains(TOPIC, ("roman", "iso-date"))
        await within(2, lambda: sorted(b.news.domains) == ["iso-date", "roman"])
        late = await town.add("z")
        await within(5, lambda: sorted(late.news.domains) == ["iso-date", "roman"])

    town(test)


def test_a_disk_that_is_full_is_told_and_tried_again(town):
    async def test(town):
        a, b = await town.add("a"), await town.add("b")
        works, full = b.library.partial, [True]

        def cannot(notice):
            if full[0]:
                raise OSError(28, "No space left on device")
            return works(notice)

        b.library.partial = cannot
        notice = give(a, PAYLOAD)
        await a.publish(TOPIC, notice.envelope)
        await within(5, lambda: b.news.failures)
        assert "No space left" in b.news.failures[0]
        full[0] = False
        await within(100, lambda: has(b, notice))

    town(test)


@pytest.mark.parametrize("method", ["wants", "heads", "partial", "accept"])
def test_a_library_that_fails_for_a_moment_does_not_make_the_node_deaf(town, method):
    async def test(town):
        a, b = await town.add("a"), await town.add("b")
        works = getattr(b.library, method)

        def fails(*_):
            raise ValueError("locked")

        setattr(b.library, method, fails)
        notice = give(a, PAYLOAD)
        await a.publish(TOPIC, notice.envelope)
        b.pull_all()
        await within(10, lambda: b.news.failures)
        setattr(b.library, method, works)
        await within(150, lambda: has(b, notice))
        assert not b.library.blamed

    town(test)


def test_a_payload_that_the_library_refuses_after_all_is_not_fetched_again(town):
    async def test(town):
        a, b = await town.add("a"), await town.add("b")
        times = []

        def refuse(notice, _payload):
            times.append(notice.id)
            raise PeerError("no adapter", fault="author", code="st.json")

        b.library.accept = refuse
        notice = give(a, PAYLOAD)
        await a.publish(TOPIC, notice.envelope)
        await asyncio.sleep(200)
        assert times == [notice.id]
        assert b.news.refused == {notice.id: "st.json"}
        assert not b.library.blamed
        assert not b.unfinished()

    town(test)


def test_the_same_seed_is_the_same_run(tmp_path):
    def once(folder):
        async def main():
            town = Town(folder, latency_s=0.05, loss=0.1)
            members = [await town.add(name) for name in "abc"]
            notice = give(members[0], PAYLOAD)
            await members[0].publish(TOPIC, notice.envelope)
            await within(100, lambda: all(has(one, notice) for one in members))
            then = asyncio.get_running_loop().time()
            traffic = [
                (view.bytes_in, view.bytes_out) for one in members for view in one.fabric.views()
            ]
            await town.close()
            return then, traffic

        return run_virtual(main())

    assert once(tmp_path / "1") == once(tmp_path / "2")
