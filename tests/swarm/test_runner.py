"""The runner is called from anywhere and never in the way."""

import asyncio
import random
import subprocess
import sys
import threading
import time

import pytest

from hivelearn.errors import UsageError
from hivelearn.swarm.fabric import FabricConfig, open_fabric
from hivelearn.swarm.fabrics.memory import MemoryNetwork
from hivelearn.swarm.runner import SwarmRunner
from hivelearn.testing.clock import HandClock
from hivelearn.testing.shelf import FolderLibrary, author, notice_of

TOPIC = b"t" * 32
SIZE_BYTES = 20_000_000


class Street:
    """Runners of one kind of fabric that know each other's addresses."""

    def __init__(self, folder, kind):
        self.folder, self.kind, self.network, self.opened = folder, kind, MemoryNetwork(), []

    def open(self, name, *others):
        config = FabricConfig(
            listen="127.0.0.1:0",
            peers=tuple(other.address for other in others if other.address),
            discover=False,
            network=self.network,
        )
        seed = name.encode().ljust(32, b".")
        shelf = FolderLibrary(self.folder / name)
        runner = SwarmRunner(
            lambda: open_fabric(self.kind, seed, config),
            shelf,
            clock=HandClock(),
            rng_seed=len(self.opened),
        )
        self.opened.append(runner)
        runner.start()
        runner.join(TOPIC)
        return runner, shelf


@pytest.fixture(params=["memory", "lan"])
def street(request, tmp_path):
    street = Street(tmp_path, request.param)
    yield street
    for runner in street.opened:
        runner.close()


def give(shelf, payload=b"payload"):
    notice = notice_of(payload, author("alice"))
    shelf.put(notice, payload)
    return notice


def test_twenty_megabytes_travel_and_the_report_counts_them(street):
    a, shelf_a = street.open("a")
    payload = random.Random(7).randbytes(SIZE_BYTES)
    notice = give(shelf_a, payload)
    b, shelf_b = street.open("b", a)
    report = b.sync(wait_s=60, quiet_s=0.2)
    assert report.accepted == (notice.id,)
    assert shelf_b.payload(notice.id).read_bytes() == payload
    assert SIZE_BYTES < report.bytes_in < SIZE_BYTES + 100_000
    assert (report.quiet, report.peers, report.unfinished) == (True, 1, ())
    assert "1 patch from 1 peer" in str(report)


def test_three_nodes_end_up_with_everything(street):
    a, shelf_a = street.open("a")
    b, shelf_b = street.open("b", a)
    c, shelf_c = street.open("c", a, b)
    notices = [notice_of(name, author(str(name))) for name in (b"one", b"two", b"three")]
    for runner, shelf, notice, name in zip(
        (a, b, c), (shelf_a, shelf_b, shelf_c), notices, (b"one", b"two", b"three"), strict=True
    ):
        shelf.put(notice, name)
        runner.publish(TOPIC, notice.envelope)
    deadline = time.monotonic() + 30
    while any(len(s.held) < 3 for s in (shelf_a, shelf_b, shelf_c)):
        assert time.monotonic() < deadline
        for runner in (a, b, c):
            runner.sync(wait_s=2, quiet_s=0.1)
    assert [shelf.blamed for shelf in (shelf_a, shelf_b, shelf_c)] == [[], [], []]


def test_alone_it_waits_as_long_as_told_and_says_so(street):
    a, _ = street.open("a")
    report = a.sync(wait_s=0.2)
    assert (report.quiet, report.peers, report.accepted) == (False, 0, ())
    assert 0.2 <= report.seconds < 5


def test_a_closed_runner_says_so_and_closes_again(street):
    a, _ = street.open("a")
    a.leave(TOPIC)
    a.close()
    a.close()
    for call in (a.peers, a.domains_seen, lambda: a.join(TOPIC), lambda: a.address, a.start):
        with pytest.raises(UsageError):
            call()
    assert not any(one.name == "hivelearn-swarm" for one in threading.enumerate())


def test_it_works_inside_a_running_loop_and_in_to_thread(street):
    """Jupyter runs a loop already; asyncio programs call through a thread."""

    async def notebook():
        a, shelf = await asyncio.to_thread(street.open, "a")
        notice = give(shelf)
        b, other = street.open("b", a)  # blocks this loop, as a notebook cell does
        report = await asyncio.to_thread(b.sync, 20, quiet_s=0.1)
        assert report.accepted == (notice.id,)
        assert [view.verified for view in b.peers()] == [True]
        assert other.held

    asyncio.run(notebook())


def test_an_interrupt_ends_the_waiting_and_not_the_swarm(street):
    a, shelf = street.open("a")
    give(shelf)

    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        # Ctrl-C raises in the main thread, which is inside this wait.
        patch.setattr("hivelearn.swarm.runner.Future.result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            a.sync(wait_s=60)
    assert a.peers() == []
    b, other = street.open("b", a)
    assert b.sync(wait_s=20, quiet_s=0.1).accepted == tuple(other.held)


def test_a_fabric_that_cannot_start_leaves_nothing_running(tmp_path):
    elsewhere = FabricConfig(listen="203.0.113.1:9", discover=False)  # no address of ours
    before = threading.active_count()
    runner = SwarmRunner(lambda: open_fabric("lan", b"a" * 32, elsewhere), FolderLibrary(tmp_path))
    with pytest.raises(UsageError, match="cannot listen"):
        runner.start()
    assert threading.active_count() <= before


def test_a_call_from_its_own_thread_is_refused_instead_of_hanging(tmp_path):
    caught = []

    runner = SwarmRunner(
        lambda: open_fabric("memory", b"n" * 32, FabricConfig(network=MemoryNetwork())),
        FolderLibrary(tmp_path),
    )
    with runner:

        def ask():
            try:
                runner.peers()
            except UsageError as error:
                caught.append(error.what)

        runner._loop.call_soon_threadsafe(ask)
        assert runner.peers() == []
    assert "own thread" in caught[0]


FORGETFUL = """
import sys
from hivelearn.swarm.fabric import FabricConfig, open_fabric
from hivelearn.swarm.runner import SwarmRunner
from hivelearn.testing.shelf import FolderLibrary
from pathlib import Path

config = FabricConfig(listen="127.0.0.1:0", peers=tuple(sys.argv[2:]), discover=False)
library = FolderLibrary(Path(sys.argv[1]))
runner = SwarmRunner(lambda: open_fabric("lan", b"f" * 32, config), library)
runner.start()
runner.join(b"t" * 32)
print(runner.address, flush=True)
"""


def test_a_program_that_forgets_to_close_still_ends_and_says_goodbye(tmp_path):
    street = Street(tmp_path, "lan")
    a, _ = street.open("a")
    command = [sys.executable, "-c", FORGETFUL, str(tmp_path / "f"), a.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not [view for view in a.peers() if view.verified]
    a.close()


def test_a_killed_process_is_noticed_and_its_failing_step_named(tmp_path):
    command = [sys.executable, "-c", FORGETFUL + "sys.stdin.read()", str(tmp_path / "f")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        address = other.stdout.readline().strip()
        config = FabricConfig(listen="127.0.0.1:0", peers=(address,), discover=False)
        shelf = FolderLibrary(tmp_path / "b")
        with SwarmRunner(lambda: open_fabric("lan", b"b" * 32, config), shelf) as b:
            wait_for(lambda: [view.verified for view in b.peers()] == [True])
            other.kill()
            wait_for(lambda: [view.verified for view in b.peers()] == [False])
            assert [(view.seen, view.failing) for view in b.peers()] == [(True, "connect")]


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
