"""The contract of ``Fabric``, held by every fabric that is installed."""

import asyncio
import contextlib
import socket

import pytest
import zmq
import zmq.asyncio
from zmq.utils import z85

from hivelearn.errors import UsageError
from hivelearn.identity import full_name
from hivelearn.swarm.fabric import (
    FRAME_MAX_BYTES,
    POST_MAX_BYTES,
    FabricConfig,
    StreamReset,
    UnreachableError,
    open_fabric,
)
from hivelearn.swarm.fabrics.lan_keys import DeviceKeys
from hivelearn.swarm.fabrics.link import DATA, HEAD, OPEN
from hivelearn.swarm.fabrics.linked import POSTS_QUEUED_MAX
from hivelearn.swarm.fabrics.memory import MemoryNetwork

TOPIC = b"t" * 32
WAIT_S = 10.0


class Room:
    """Starts fabrics of one kind that can reach each other."""

    def __init__(self, kind):
        self.kind, self.network, self.opened = kind, MemoryNetwork(), []

    async def open(self, name, *others, listen="127.0.0.1:0"):
        config = FabricConfig(
            listen=listen,
            peers=tuple(other.address for other in others if other.address),
            discover=False,
            network=self.network,
        )
        fabric = open_fabric(self.kind, name.encode().ljust(32, b"."), config)
        self.opened.append(fabric)
        await fabric.start()
        return fabric

    async def pair(self):
        a = await self.open("a")
        b = await self.open("b", a)
        await until(lambda: a.key in b.peers() and b.key in a.peers())
        return a, b


async def until(condition):
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - any condition, of any fabric
            await asyncio.sleep(0.01)


@pytest.fixture(params=["memory", "lan"])
def live(request):
    """Run an async test against a room, and close all that it opened."""

    def run(test):
        async def main():
            room = Room(request.param)
            try:
                await test(room)
            finally:
                for fabric in room.opened:
                    await fabric.close()

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())

    return run


async def echo(_peer, stream):
    while (data := await stream.recv(WAIT_S)) is not None:
        await stream.send(data)


def test_frames_come_back_whole_and_in_order_and_the_end_is_clean(live):
    async def test(room):
        a, b = await room.pair()
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
    async def test(room):
        a, b = await room.pair()
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
    async def test(room):
        a, b = await room.pair()

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
    async def test(room):
        a, b = await room.pair()
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
    async def test(room):
        a, b = await room.pair()
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
    async def test(room):
        a, b = await room.pair()

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
    async def test(room):
        a, b = await room.pair()
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
    async def test(room):
        a, b = await room.pair()
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
    async def test(room):
        a, b = await room.pair()
        c = await room.open("c", a, b)
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


def test_a_full_subscription_drops_and_counts(live):
    async def test(room):
        a, b = await room.pair()
        queue = b.subscribe(TOPIC)
        await a.join(TOPIC)
        await b.join(TOPIC)
        await asyncio.sleep(0.1)
        for i in range(POSTS_QUEUED_MAX * 2):
            await a.publish(TOPIC, b"%d" % i)
            await asyncio.sleep(0)
            if i % 16 == 0:
                await asyncio.sleep(0.002)
        await until(lambda: queue.dropped > 0)
        assert (await queue.get())[1] == b"0"

    live(test)


def test_a_peer_that_restarts_with_its_key_comes_back(live):
    async def test(room):
        a, b = await room.pair()
        events = []
        b.on_peer(lambda _peer, up: events.append(up))
        listen = a.address.rpartition("@")[2] or "127.0.0.1:0"
        await a.close()
        await until(lambda: events == [False])
        again = await room.open("a", listen=listen)
        again.handle("echo", echo)
        stream = await b.open_stream(a.key, "echo", timeout_s=WAIT_S)
        await stream.send(b"back")
        assert await stream.recv(WAIT_S) == b"back"
        assert events == [False, True]

    live(test)


def test_five_that_start_at_once_all_meet(live):
    async def test(room):
        first = await room.open("0")
        rest = await asyncio.gather(*(room.open(str(i), first) for i in range(1, 5)))
        everyone = [first, *rest]
        if room.kind == "memory":
            await until(lambda: all(len(one.peers()) == 4 for one in everyone))
        else:  # without discovery the address of one is the address of one
            await until(lambda: len(first.peers()) == 4)

    live(test)


def test_closing_twice_is_closing_once(live):
    async def test(room):
        a, b = await room.pair()
        await a.close()
        await a.close()
        await until(lambda: not b.peers())

    live(test)


def test_a_topic_of_the_wrong_size_is_refused(live):
    async def test(room):
        a = await room.open("a")
        with pytest.raises(UsageError, match="32-byte"):
            await a.join(b"short")

    live(test)


# -- what only one of them has ------------------------------------------------


def test_lan_a_port_in_use_is_the_callers_to_fix():
    async def main():
        room = Room("lan")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            for listen in (f"127.0.0.1:{port}", f"127.0.0.1:{port - 1}"):  # its own, the desk's
                with pytest.raises(UsageError, match="in use") as caught:
                    await room.open("a", listen=listen)
                assert "port 0" in caught.value.remedy
        for fabric in room.opened:
            await fabric.close()

    asyncio.run(main())


def test_lan_a_bare_address_leads_to_whoever_proves_the_key_it_tells():
    async def main():
        room = Room("lan")
        a = await room.open("a")
        bare = a.address.rpartition("@")[2]
        config = FabricConfig(listen="127.0.0.1:0", peers=[bare, bare], discover=False)
        b = open_fabric("lan", b"b" * 32, config)
        room.opened.append(b)
        await b.start()
        await until(lambda: a.key in b.peers())
        for fabric in room.opened:
            await fabric.close()

    asyncio.run(main())


def test_lan_the_failing_step_is_named():
    async def main():
        room = Room("lan")
        a = await room.open("a")
        stranger = open_fabric("lan", b"s" * 32, FabricConfig(discover=False)).key
        wrong_key = a.address.replace(a.address.partition("@")[0], full_name(stranger))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            nobody = f"127.0.0.1:{free.getsockname()[1]}"
        config = FabricConfig(
            listen="127.0.0.1:0", peers=[wrong_key, f"{full_name(stranger)}@{nobody}", nobody],
            discover=False,
        )  # fmt: skip
        b = open_fabric("lan", b"b" * 32, config)
        room.opened.append(b)
        await b.start()
        await until(
            lambda: [one.failing for one in b.views()] == ["encrypt", "connect", "ask who it is"]
        )
        assert [one.reachable for one in b.views()] == [True, False, False]
        for fabric in room.opened:
            await fabric.close()

    asyncio.run(main())


def test_lan_a_stranger_without_a_hello_gets_nothing():
    async def main():
        room = Room("lan")
        a = await room.open("a")
        keys = DeviceKeys.of(b"x" * 32)
        with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as rude:
            rude.curve_publickey, rude.curve_secretkey = (
                z85.encode(keys.curve),
                z85.encode(keys.curve_secret),
            )
            rude.curve_serverkey = z85.encode(DeviceKeys.of(b"a".ljust(32, b".")).curve)
            rude.linger = 0
            rude.connect("tcp://" + a.address.rpartition("@")[2])
            for kind in (OPEN, DATA, 0):
                await rude.send_multipart([HEAD.pack(kind, 1), b"not a hello"])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await rude.recv_multipart()
        assert not a.peers()
        for fabric in room.opened:
            await fabric.close()

    asyncio.run(main())


def test_lan_discovery_is_bounded_to_the_named_interface():
    """On loopback two nodes find each other without any address given."""

    async def main():
        fabrics = [
            open_fabric("lan", name * 32, FabricConfig(listen="127.0.0.1:0"))
            for name in (b"a", b"b")
        ]
        for fabric in fabrics:
            await fabric.start()
        try:
            with contextlib.suppress(TimeoutError):
                await until(lambda: fabrics[1].key in fabrics[0].peers())
            if not fabrics[0].peers():
                pytest.skip("this machine has no multicast on its loopback interface")
        finally:
            for fabric in fabrics:
                await fabric.close()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["hyperswarm", "libp2p", "pigeon"])
def test_a_fabric_that_is_not_here_says_which_are(name):
    with pytest.raises(UsageError, match=name) as caught:
        open_fabric(name, bytes(32))
    assert "lan, memory" in caught.value.remedy
    assert ("later release" in caught.value.what) == (name != "pigeon")
