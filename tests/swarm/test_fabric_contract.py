"""The contract of ``Fabric``, held by every fabric that is installed."""

import asyncio

import pytest

from hivelearn.errors import UsageError
from hivelearn.swarm.fabric import (
    FRAME_MAX_BYTES,
    POST_MAX_BYTES,
    StreamReset,
    UnreachableError,
)
from hivelearn.swarm.fabrics.posts import POSTS_QUEUED_MAX
from hivelearn.testing.fabric_contract import WAIT_S, run_fabrics, until

TOPIC = b"t" * 32


@pytest.fixture(params=["memory", "lan"])
def live(request):
    """Run an async test on fabrics of each kind."""
    return lambda test: run_fabrics(request.param, test)


async def echo(_peer, stream):
    while (data := await stream.recv(WAIT_S)) is not None:
        await stream.send(data)


def test_frames_come_back_whole_and_in_order_and_the_end_is_clean(live):
    async def test(fabrics):
        a, b = await fabrics.pair()
        a.handle("echo", echo)
        stream = await b.open_stream(a.key, "echo", timeout_s=WAIT_S)
        sent = [b"", b"x", bytes(FRAME_MAX_BYTES), *(b"%d" % i for i in range(50))]
        for data in sent:
            await stream.send(data)
        assert [await stream.recv(WAIT_S) for _ in sent] == sent
        await stream.close()
        assert await stream.recv(WAIT_S) is None
        await stream.close()

    live(test)


def test_each_side_knows_the_other_by_its_device_key(live):
    async def test(fabrics):
        a, b = await fabrics.pair()
        callers = []

        async def note(peer, _stream):
            callers.append(peer)

        b.handle("who", note)
        stream = await a.open_stream(b.key, "who", timeout_s=WAIT_S)
        assert await stream.recv(WAIT_S) is None
        assert callers == [a.key]
        (view,) = [one for one in a.views() if one.key == b.key]
        assert (view.seen, view.reachable, view.verified, view.failing) == (True, True, True, "")

    live(test)


def test_a_failing_handler_costs_one_stream_and_no_more(live):
    async def test(fabrics):
        a, b = await fabrics.pair()

        async def fail(_peer, stream):
            await stream.recv(WAIT_S)
            raise ZeroDivisionError

        a.handle("fail", fail)
        a.handle("echo", echo)
        good = await b.open_stream(a.key, "echo", timeout_s=WAIT_S)
        bad = await b.open_stream(a.key, "fail", timeout_s=WAIT_S)
        await bad.send(b"now")
        with pytest.raises(StreamReset):
            await bad.recv(WAIT_S)
        await good.send(b"still here")
        assert await good.recv(WAIT_S) == b"still here"

    live(test)


def test_an_abort_is_a_reset_and_never_a_clean_end(live):
    async def test(fabrics):
        a, b = await fabrics.pair()
        seen = []

        async def listen(_peer, stream):
            try:
                while (data := await stream.recv(WAIT_S)) is not None:
                    seen.append(data)
                seen.append("clean")
            except StreamReset:
                seen.append("reset")

        a.handle("listen", listen)
        stream = await b.open_stream(a.key, "listen", timeout_s=WAIT_S)
        await stream.send(b"half")
        await until(lambda: seen == [b"half"])
        stream.abort()
        await until(lambda: seen == [b"half", "reset"])
        with pytest.raises(StreamReset):
            await stream.send(b"more")

    live(test)


def test_a_peer_that_goes_in_the_middle_resets_its_streams(live):
    async def test(fabrics):
        a, b = await fabrics.pair()
        events = []
        b.on_peer(lambda peer, up: events.append((peer, up)))

        async def half(_peer, stream):
            await stream.send(b"half")
            await asyncio.sleep(WAIT_S)

        a.handle("half", half)
        stream = await b.open_stream(a.key, "half", timeout_s=WAIT_S)
        assert await stream.recv(WAIT_S) == b"half"
        await a.close()
        with pytest.raises(StreamReset):
            await stream.recv(WAIT_S)
        await until(lambda: events == [(a.key, False)])
        with pytest.raises(UnreachableError):
            await b.open_stream(a.key, "half", timeout_s=0.05)

    live(test)


def test_silence_and_an_unknown_protocol_are_resets(live):
    async def test(fabrics):
        a, b = await fabrics.pair()

        async def silent(_peer, stream):
            await stream.recv(WAIT_S)

        a.handle("silent", silent)
        stream = await b.open_stream(a.key, "silent", timeout_s=WAIT_S)
        with pytest.raises(StreamReset, match="nothing came"):
            await stream.recv(0.05)
        stream = await b.open_stream(a.key, "no such protocol", timeout_s=WAIT_S)
        with pytest.raises(StreamReset):
            await stream.recv(WAIT_S)

    live(test)


def test_an_oversize_frame_or_post_is_refused_before_it_leaves(live):
    async def test(fabrics):
        a, b = await fabrics.pair()
        a.handle("echo", echo)
        stream = await b.open_stream(a.key, "echo", timeout_s=WAIT_S)
        with pytest.raises(UsageError, match="above"):
            await stream.send(bytes(FRAME_MAX_BYTES + 1))
        await stream.send(b"fine")
        assert await stream.recv(WAIT_S) == b"fine"
        await b.join(TOPIC)
        with pytest.raises(UsageError, match="above"):
            await b.publish(TOPIC, bytes(POST_MAX_BYTES + 1))

    live(test)


def test_a_slow_reader_holds_the_writer_back_and_nobody_else(live):
    async def test(fabrics):
        a, b = await fabrics.pair()
        go = asyncio.Event()

        async def slow(_peer, stream):
            await go.wait()
            await echo(_peer, stream)

        a.handle("slow", slow)
        a.handle("echo", echo)
        stream = await b.open_stream(a.key, "slow", timeout_s=WAIT_S)
        for _ in range(4):  # a window's worth
            await stream.send(bytes(256 * 1024), timeout_s=0.1)
        with pytest.raises(StreamReset, match="took nothing"):
            await stream.send(b"one more", timeout_s=0.1)
        other = await b.open_stream(a.key, "echo", timeout_s=WAIT_S)
        await other.send(b"quick")
        assert await other.recv(WAIT_S) == b"quick"

    live(test)


def test_posts_reach_who_shares_the_topic_and_nobody_else(live):
    async def test(fabrics):
        a, b = await fabrics.pair()
        c = await fabrics.open("c", a, b)
        inside, outside = b.subscribe(TOPIC), c.subscribe(b"o" * 32)
        await a.join(TOPIC)
        await b.join(TOPIC)
        await c.join(b"o" * 32)
        got = asyncio.create_task(inside.get())
        async with asyncio.timeout(WAIT_S):
            while not got.done():  # a post before the tags have crossed is lost, by contract
                await a.publish(TOPIC, b"hello")
                await asyncio.sleep(0.02)
        assert got.result() == (a.key, b"hello")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await outside.get()
        await b.leave(TOPIC)
        inside.close()

    live(test)


def test_a_peer_is_in_the_topics_that_it_proved_until_it_leaves_them(live):
    async def test(fabrics):
        a, b = await fabrics.pair()
        await a.join(TOPIC)
        assert not a.in_topic(b.key, TOPIC)
        await b.join(TOPIC)
        await until(lambda: a.in_topic(b.key, TOPIC) and b.in_topic(a.key, TOPIC))
        assert not a.in_topic(b.key, b"o" * 32)
        assert not a.in_topic(b"nobody" + bytes(26), TOPIC)
        await b.leave(TOPIC)
        await until(lambda: not a.in_topic(b.key, TOPIC))
        await b.join(TOPIC)
        await until(lambda: a.in_topic(b.key, TOPIC))
        await b.close()
        await until(lambda: not a.in_topic(b.key, TOPIC))

    live(test)


def test_a_full_subscription_drops_and_counts(live):
    async def test(fabrics):
        a, b = await fabrics.pair()
        queue = b.subscribe(TOPIC)
        await a.join(TOPIC)
        await b.join(TOPIC)
        await asyncio.sleep(0.1)
        sent = 0
        async with asyncio.timeout(WAIT_S):
            while not queue.dropped:  # what the peer cannot take in time is dropped on our side
                await a.publish(TOPIC, b"%d" % sent)
                await asyncio.sleep(0.001 if sent % 16 == 0 else 0)
                sent += 1
        assert sent > POSTS_QUEUED_MAX
        assert (await queue.get())[1] == b"0"

    live(test)


def test_a_peer_that_restarts_with_its_key_comes_back(live):
    async def test(fabrics):
        a, b = await fabrics.pair()
        events = []
        b.on_peer(lambda _peer, up: events.append(up))
        listen = a.address.rpartition("@")[2] or "127.0.0.1:0"
        await a.close()
        await until(lambda: events == [False])
        again = await fabrics.open("a", listen=listen)
        again.handle("echo", echo)
        stream = await b.open_stream(a.key, "echo", timeout_s=WAIT_S)
        await stream.send(b"back")
        assert await stream.recv(WAIT_S) == b"back"
        assert events == [False, True]

    live(test)


def test_five_that_start_at_once_all_meet(live):
    async def test(fabrics):
        first = await fabrics.open("0")
        rest = await asyncio.gather(*(fabrics.open(str(i), first) for i in range(1, 5)))
        everyone = [first, *rest]
        if fabrics.kind == "memory":
            await until(lambda: all(len(one.peers()) == 4 for one in everyone))
        else:  # without discovery the address of one is the address of one
            await until(lambda: len(first.peers()) == 4)

    live(test)


def test_closing_twice_is_closing_once(live):
    async def test(fabrics):
        a, b = await fabrics.pair()
        await a.close()
        await a.close()
        await until(lambda: not b.peers())

    live(test)


def test_a_topic_of_the_wrong_size_is_refused(live):
    async def test(fabrics):
        a = await fabrics.open("a")
        with pytest.raises(UsageError, match="32-byte"):
            await a.join(b"short")

    live(test)
