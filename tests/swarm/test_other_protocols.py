"""Another module's protocol rides on a node's connections, beside the swarm's own."""

import asyncio
from functools import partial

import pytest

from hivelearn.errors import UsageError
from hivelearn.swarm.fabric import StreamReset, UnreachableError
from hivelearn.swarm.fabrics.fabric_table import open_fabric
from hivelearn.swarm.fabrics.lan_address import parse
from hivelearn.swarm.fabrics.memory import MemoryNetwork
from hivelearn.swarm.messages import BLOB_PROTOCOL, SYNC_PROTOCOL
from hivelearn.swarm.runner import SwarmRunner
from hivelearn.testing.fabric_contract import WAIT_S, loopback_options, seed_of
from hivelearn.testing.folder_store import FolderStore

ECHO, RELAY = "example.org/echo/1", "example.org/relay/1"


@pytest.fixture
def lan(tmp_path):
    """Return a function that starts a node on loopback."""
    opened = []

    def open_node(name, *others):
        options = loopback_options("lan", MemoryNetwork(), [other.address for other in others])
        store = FolderStore(tmp_path / name)
        runner = SwarmRunner(lambda: open_fabric("lan", seed_of(name), options), store)
        opened.append(runner)
        runner.start()
        return runner

    yield open_node
    for runner in opened:
        runner.close()


async def echo(_peer, stream):
    while (data := await stream.recv(WAIT_S)) is not None:
        await stream.send(data.upper())


async def ask(runner, peer, protocol, data):
    stream = await runner.open_stream(peer, protocol, timeout_s=WAIT_S)
    await stream.send(data)
    answer = await stream.recv(WAIT_S)
    await stream.close()
    return answer


def key(runner):
    """Return the device key that a runner's address tells."""
    return parse(runner.address).key


def test_an_echo_of_a_third_party_is_answered_over_the_lan(lan):
    a = lan("a")
    a.handle(ECHO, echo)
    b = lan("b", a)
    assert b.run(ask(b, key(a), ECHO, b"hello")) == b"HELLO"


def test_a_handler_opens_streams_of_its_own_as_a_pipeline_does(lan):
    a = lan("a")
    a.handle(ECHO, echo)
    b = lan("b", a)

    async def relay(_peer, stream):
        await stream.send(await ask(b, key(a), ECHO, await stream.recv(WAIT_S)))

    b.handle(RELAY, relay)
    c = lan("c", b)
    assert c.run(ask(c, key(b), RELAY, b"hello")) == b"HELLO"


def test_a_handler_that_fails_costs_its_stream_and_not_the_swarm(lan):
    async def fails(_peer, _stream):
        raise ZeroDivisionError

    a = lan("a")
    a.handle(ECHO, fails)
    b = lan("b", a)
    with pytest.raises(StreamReset):
        b.run(ask(b, key(a), ECHO, b"hello"))
    a.handle(ECHO, echo)  # a later handler takes its place
    assert b.run(ask(b, key(a), ECHO, b"hello")) == b"HELLO"


@pytest.mark.parametrize("protocol", [SYNC_PROTOCOL, BLOB_PROTOCOL])
def test_the_swarms_own_protocols_are_nobody_elses(lan, protocol):
    a = lan("a")
    with pytest.raises(UsageError, match="own"):
        a.handle(protocol, echo)
    with pytest.raises(UsageError, match="own"):
        a.run(ask(a, bytes(32), protocol, b"hello"))


@pytest.mark.parametrize("protocol", ["", "x" * 65, "écho"])
def test_a_name_that_no_fabric_can_carry_is_refused(lan, protocol):
    a = lan("a")
    with pytest.raises(UsageError, match="name of a protocol"):
        a.handle(protocol, echo)


def test_a_stream_to_nobody_fails_in_the_time_that_was_given(lan):
    a = lan("a")
    with pytest.raises(UnreachableError):
        a.run(a.open_stream(bytes(32), ECHO, timeout_s=0.05))


def test_a_stream_is_opened_in_the_swarms_loop_alone(lan):
    a = lan("a")
    with pytest.raises(UsageError, match="own loop"):
        asyncio.run(a.open_stream(bytes(32), ECHO))


def test_a_swarm_that_is_closed_runs_nothing(lan):
    a = lan("a")
    a.close()
    with pytest.raises(UsageError, match="not running"):
        a.run(ask(a, bytes(32), ECHO, b"hello"))
    with pytest.raises(UsageError, match="not running"):
        a.handle(ECHO, echo)


@pytest.mark.parametrize(
    "wrong", [5, None, "text", echo], ids=["a number", "nothing", "text", "a function"]
)
def test_what_is_no_coroutine_cannot_run_in_the_loop(lan, wrong):
    with pytest.raises(UsageError, match="cannot run"):
        lan("a").run(wrong)


@pytest.mark.parametrize(
    ("protocol", "handler"),
    [(5, echo), (None, echo), (ECHO, 5), (ECHO, None), (ECHO, print), (ECHO, lambda *_: None)],
)
def test_a_protocol_needs_a_name_and_a_handler(lan, protocol, handler):
    with pytest.raises(UsageError):
        lan("a").handle(protocol, handler)


class Echo:
    """A handler that is an object."""

    async def __call__(self, peer, stream):
        """Answer."""
        await echo(peer, stream)


@pytest.mark.parametrize(
    "handler", [Echo(), partial(echo), Echo().__call__], ids=["an object", "a partial", "a method"]
)
def test_whatever_is_awaited_when_called_may_handle_streams(lan, handler):
    a = lan("a")
    a.handle(ECHO, handler)
    b = lan("b", a)
    assert b.run(ask(b, key(a), ECHO, b"hello")) == b"HELLO"


@pytest.mark.parametrize("wrong", [5, None, "hl1", b"short", bytearray(32)], ids=repr)
def test_what_is_no_peer_has_no_streams(lan, wrong):
    a = lan("a")
    with pytest.raises(UsageError, match="is no peer"):
        a.run(ask(a, wrong, ECHO, b"hello"))


@pytest.mark.parametrize("wrong", ["5", None, -1.0], ids=repr)
def test_a_stream_is_waited_for_some_seconds(lan, wrong):
    a = lan("a")
    with pytest.raises(UsageError, match="timeout_s"):
        a.run(a.open_stream(bytes(32), ECHO, timeout_s=wrong))


@pytest.mark.parametrize("wrong", ["text", None, 5, ["x"]], ids=repr)
def test_a_stream_carries_bytes(lan, wrong):
    a = lan("a")
    a.handle(ECHO, echo)
    b = lan("b", a)
    with pytest.raises(UsageError, match="carries bytes"):
        b.run(ask(b, key(a), ECHO, wrong))
