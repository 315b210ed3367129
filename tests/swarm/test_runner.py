"""The runner is called from anywhere and never in the way."""

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from hivelearn.errors import UsageError
from hivelearn.swarm.events import PayloadStored, PeerDown, PeerUp
from hivelearn.swarm.fabrics.fabric_table import open_fabric
from hivelearn.swarm.fabrics.lan_options import LanOptions
from hivelearn.swarm.fabrics.memory import MemoryNetwork
from hivelearn.swarm.runner import SwarmRunner
from hivelearn.testing.clock import ManualClock
from hivelearn.testing.fabric_contract import loopback_options, seed_of
from hivelearn.testing.folder_store import FolderStore, author, notice_of

TOPIC = b"t" * 32
SIZE_BYTES = 20_000_000


class Runners:
    """Runners of one kind of fabric that know each other's addresses."""

    def __init__(self, folder, kind):
        self.folder, self.kind, self.network = folder, kind, MemoryNetwork()
        self.opened, self.events = [], {}

    def open(self, name, *others):
        options = loopback_options(
            self.kind, self.network, [o.address for o in others if o.address]
        )
        store, events = FolderStore(self.folder / name), self.events.setdefault(name, [])
        runner = SwarmRunner(
            lambda: open_fabric(self.kind, seed_of(name), options),
            store,
            clock=ManualClock(),
            rng_seed=len(self.opened),
            observe=events.append,
        )
        self.opened.append(runner)
        runner.start()
        runner.join(TOPIC)
        return runner, store


@pytest.fixture(params=["memory", "lan"])
def runners(request, tmp_path):
    runners = Runners(tmp_path, request.param)
    yield runners
    for runner in runners.opened:
        runner.close()


def give(store, payload=b"payload"):
    notice = notice_of(payload, author("alice"))
    store.put(notice, payload)
    return notice


def test_twenty_megabytes_travel_and_the_report_counts_them(runners):
    a, store_a = runners.open("a")
    payload = random.Random(7).randbytes(SIZE_BYTES)
    notice = give(store_a, payload)
    b, store_b = runners.open("b", a)
    report = b.sync(wait_s=60, quiet_s=0.2)
    assert report.accepted == (notice.id,)
    assert store_b.payload(notice.id).read_bytes() == payload
    assert SIZE_BYTES < report.bytes_in < SIZE_BYTES + 100_000
    assert (report.quiet, report.peers, report.unfinished) == (True, 1, ())
    assert "1 patch from 1 peer" in str(report)


def test_three_nodes_end_up_with_everything(runners):
    a, store_a = runners.open("a")
    b, store_b = runners.open("b", a)
    c, store_c = runners.open("c", a, b)
    notices = [notice_of(name, author(str(name))) for name in (b"one", b"two", b"three")]
    for runner, store, notice, name in zip(
        (a, b, c), (store_a, store_b, store_c), notices, (b"one", b"two", b"three"), strict=True
    ):
        store.put(notice, name)
        runner.publish(TOPIC, notice.envelope)
    deadline = time.monotonic() + 30
    while any(len(s.held) < 3 for s in (store_a, store_b, store_c)):
        assert time.monotonic() < deadline
        for runner in (a, b, c):
            runner.sync(wait_s=2, quiet_s=0.1)
    assert [store.blamed for store in (store_a, store_b, store_c)] == [[], [], []]


def test_alone_it_waits_as_long_as_told_and_says_so(runners):
    a, _ = runners.open("a")
    report = a.sync(wait_s=0.2)
    assert (report.quiet, report.peers, report.accepted) == (False, 0, ())
    assert 0.2 <= report.seconds < 5


def test_a_closed_runner_says_so_and_closes_again(runners):
    a, _ = runners.open("a")
    a.leave(TOPIC)
    a.close()
    a.close()
    for call in (a.peers, a.domains_seen, lambda: a.join(TOPIC), lambda: a.address, a.start):
        with pytest.raises(UsageError):
            call()
    assert not any(one.name == "hivelearn-swarm" for one in threading.enumerate())


def test_it_works_inside_a_running_loop_and_in_to_thread(runners):
    """Jupyter runs a loop already; asyncio programs call through a thread."""

    async def notebook():
        a, store = await asyncio.to_thread(runners.open, "a")
        notice = give(store)
        b, other = runners.open("b", a)  # blocks this loop, as a notebook cell does
        report = await asyncio.to_thread(b.sync, 20, quiet_s=0.1)
        assert report.accepted == (notice.id,)
        assert [view.verified for view in b.peers()] == [True]
        assert other.held

    asyncio.run(notebook())


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal to one thread here")
def test_an_interrupt_ends_the_waiting_and_not_the_swarm(runners):
    a, store = runners.open("a")
    give(store)

    # Under nohup SIGINT arrives ignored: this test wants it as a terminal gives it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.main_thread().ident
    ctrl_c = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    ctrl_c.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            a.sync(wait_s=60)
    finally:
        ctrl_c.join()
        signal.signal(signal.SIGINT, before)
    assert a.peers() == []
    b, other = runners.open("b", a)
    assert b.sync(wait_s=20, quiet_s=0.1).accepted == tuple(other.held)


def test_a_fabric_that_cannot_start_leaves_nothing_running(tmp_path):
    elsewhere = LanOptions(listen="203.0.113.1:9", discover=False)  # no address of ours
    before = threading.active_count()
    runner = SwarmRunner(lambda: open_fabric("lan", b"a" * 32, elsewhere), FolderStore(tmp_path))
    with pytest.raises(UsageError, match="cannot listen"):
        runner.start()
    assert threading.active_count() <= before


def test_a_call_from_its_own_thread_is_refused_instead_of_hanging(runners):
    a, _ = runners.open("a")

    async def ask():
        return a.peers()

    with pytest.raises(UsageError, match="own thread"):
        a.run(ask())
    assert a.peers() == []


def test_an_observer_hears_what_happened_in_its_order(runners):
    a, store = runners.open("a")
    notice = give(store)
    b, _ = runners.open("b", a)
    b.sync(wait_s=20, quiet_s=0.1)
    (key,) = [view.key for view in b.peers()]
    a.close()
    wait_for(lambda: len(runners.events["b"]) == 3)
    assert runners.events["b"] == [PeerUp(key), PayloadStored(notice), PeerDown(key)]
    assert [type(one) for one in runners.events["a"]][:1] == [PeerUp]


def test_a_sync_ends_as_soon_as_it_has_been_quiet_for_so_long(runners):
    a, _ = runners.open("a")
    b, _ = runners.open("b", a)
    wait_for(lambda: len(a.met()) == len(b.met()) == 1)
    report = b.sync(wait_s=30, quiet_s=0.5)
    assert report.quiet
    assert 0.5 <= report.seconds < 5


FORGETFUL = """
import sys
from hivelearn.swarm.fabrics.lan import open_lan
from hivelearn.swarm.fabrics.lan_options import LanOptions
from hivelearn.swarm.runner import SwarmRunner
from hivelearn.testing.folder_store import FolderStore
from pathlib import Path

options = LanOptions(listen="127.0.0.1:0", peers=tuple(sys.argv[2:]), discover=False)
runner = SwarmRunner(lambda: open_lan(b"f" * 32, options), FolderStore(Path(sys.argv[1])))
runner.start()
runner.join(b"t" * 32)
print(runner.address, flush=True)
"""


def test_a_program_that_forgets_to_close_still_ends_and_says_goodbye(tmp_path):
    runners = Runners(tmp_path, "lan")
    a, _ = runners.open("a")
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
        options = LanOptions(listen="127.0.0.1:0", peers=(address,), discover=False)
        store = FolderStore(tmp_path / "b")
        with SwarmRunner(lambda: open_fabric("lan", b"b" * 32, options), store) as b:
            wait_for(lambda: [view.verified for view in b.peers()] == [True])
            other.kill()
            wait_for(lambda: [view.verified for view in b.peers()] == [False])
            assert [(view.seen, view.failing) for view in b.peers()] == [(True, "connect")]


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
