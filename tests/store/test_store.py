"""The store as a whole: one writer, many readers, and nothing lost to a crash."""

import os
import random
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hivelearn.files import DiskError, DiskFullError
from hivelearn.store import errors
from hivelearn.store.candidates import Candidate
from hivelearn.store.database import Database
from hivelearn.store.generations import Generation, Served
from hivelearn.store.home import Home
from hivelearn.store.journal import Journal
from hivelearn.store.marks import Marks
from hivelearn.store.store import Store

BASE, AUTHOR = b"b" * 32, b"a" * 32

FILLING = """
import resource, signal, sys
from hivelearn.files import DiskFullError
from hivelearn.store.correction import Correction, to_conversation
from hivelearn.store.home import Home
from hivelearn.store.store import Store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(Home.open(sys.argv[1]))
correction = Correction(to_conversation("14?"), "x" * 20_000, "roman", b"b" * 32, 1.0)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
for write in (lambda: store.blobs.put(b"x" * 20_000), lambda: store.remember(correction)):
    try:
        write()
    except DiskFullError as error:
        print("full", bool(error.remedy))
"""


def test_nothing_stored_yet_reads_as_nothing(tmp_path):
    store = Store(Home.at(tmp_path / "home"))
    assert store.shelf.list() == ()
    assert store.journal.list() == ()
    assert store.journal.counts() == {}
    assert store.generations.current(BASE, "roman") is None
    assert store.reputation.blame() == ()
    assert store.marks.turns("roman") == {}
    assert list(tmp_path.iterdir()) == []  # reading made nothing


def test_a_reader_sees_the_last_commit_while_another_writes(store, correct):
    reader = Store(Home.open(store.home.path))
    with store.writing("test"):
        store.journal.add([correct("1?")])
        with store.together():
            store.journal.add([correct("2?")])
            assert len(store.journal.list()) == 2  # its own thread reads what it wrote
            assert len(reader.journal.list()) == 1
        assert len(reader.journal.list()) == 2


def test_together_is_all_or_nothing_and_an_inner_failure_can_be_survived(store, correct):
    def fail(question):
        with store.together():
            store.journal.add([correct(question)])
            raise ZeroDivisionError

    with store.writing("test"):
        with pytest.raises(ZeroDivisionError):
            fail("1?")
        assert store.journal.list() == ()
        with store.together():
            store.journal.add([correct("2?")])
            with pytest.raises(ZeroDivisionError):
                fail("3?")
        assert len(store.journal.list()) == 1


def test_many_threads_write_and_read_and_nothing_is_lost(store, correct):
    failed = []

    def work(number):
        try:
            for n in range(5):
                store.remember(correct(f"remember {number} {n}"))
                with store.writing("thread"), store.together():
                    store.journal.add([correct(f"thread {number} {n}")])
                    store.remember(correct(f"inside {number} {n}"))
                store.journal.list()
        except Exception as error:  # noqa: BLE001 - told to the main thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert len(store.journal.list()) == 4 * 5 * 3
    with Store(Home.open(store.home.path)).writing("another node", wait_s=0.0):
        pass


def test_an_older_file_is_brought_forward_and_a_failed_step_leaves_it_as_it_was(tmp_path):
    one, two = ("CREATE TABLE a (x)",), ("ALTER TABLE a ADD y", "CREATE TABLE a (x)")
    path = tmp_path / "hive.db"
    for steps, version in [((one,), 1), ((one, two[:1]), 2)]:
        db = Database(path, steps)
        with db.opened():
            db.migrate()
        assert db.version() == version
    path.unlink()
    db = Database(path, (one, two))
    with db.opened(), pytest.raises(Exception, match="already exists"):
        db.migrate()
    assert db.version() == 1
    before = Database(path, (one,))
    assert before.rows("SELECT * FROM a") == []
    with pytest.raises(Exception, match="no such column"):
        before.rows("SELECT y FROM a")


def _open_files():
    descriptors = Path("/proc/self/fd")
    return [os.path.realpath(each) for each in descriptors.glob("*")]  # none but on Linux


def test_a_file_that_is_no_database_is_told_and_let_go_of(tmp_path):
    path = tmp_path / "hive.db"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(errors.HomeDamagedError) as held:  # whose frames keep what they opened
        Database(path).version()
    path.unlink()
    assert held.value.remedy
    assert not any("hive.db" in name for name in _open_files())


def test_a_lock_of_another_program_is_an_error_of_the_device(store):
    with store.writing("test"):
        pass
    other = sqlite3.connect(store.home.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    impatient = Database(store.home.database, busy_wait_s=0.01)
    with impatient.opened(), pytest.raises(DiskError, match="locked"):
        Marks(impatient).set_learnt(BASE, "roman", "a")
    other.close()


def test_a_long_reader_delays_the_forgetting_and_the_next_writer_finishes_it(store, correct):
    with store.writing("test"):
        store.journal.add([correct("14?", "quicksilver")])
    reader = sqlite3.connect(store.home.database, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM corrections").fetchall()
    impatient = Database(store.home.database, busy_wait_s=0.01)
    journal = Journal(impatient, store.inbox)
    with impatient.opened():
        assert not journal.forget(domain="roman").bytes_gone
        assert journal.list() == ()
    reader.close()
    with store.writing("later"):
        pass
    files = [path for path in store.home.path.rglob("*") if path.is_file()]
    assert not any(b"quicksilver" in path.read_bytes() for path in files)


def test_compacting_leaves_no_copies_in_the_gaps_of_pages(tmp_path):
    chance = random.Random(57)
    db = Database(tmp_path / "hive.db", (("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)",),))
    with db.opened():
        db.migrate()
        with db.transaction() as writer:  # rows that grow move between pages, and leave copies
            for n in range(1, 600):
                text = ("keep" if n % 2 else "quicksilver") * chance.randrange(1, 100)
                writer.execute("INSERT INTO t VALUES (?, ?)", (n, text))
                grown = (chance.randrange(900), chance.randrange(1, n + 1))
                writer.execute("UPDATE t SET x = x || printf('%*c', ?, 'z') WHERE id = ?", grown)
        with db.transaction() as writer:
            writer.execute("DELETE FROM t WHERE id % 2 = 0")
        assert db.compact()
        assert b"quicksilver" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_damage_inside_the_file_is_found_when_the_first_block_opens(store, correct):
    with store.writing("test"):
        store.journal.add(correct(f"{n}?", "x" * 2000, created_s=n) for n in range(50))
    data = bytearray(store.home.database.read_bytes())
    for page in range(20, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    store.home.database.write_bytes(data)
    with pytest.raises(errors.HomeDamagedError), Store(store.home).writing("test"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_a_file_that_cannot_grow_is_a_full_home_and_leaves_nothing_behind(home):
    command = [sys.executable, "-c", FILLING, home.path]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["full True", "full True"], done.stderr
    left = {path.name for path in home.path.rglob("*") if path.is_file()}
    assert left <= {"writer.lock", "hive.db", "hive.db-wal", "hive.db-shm"}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 KiB, where this machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk]
    if not sys.platform.startswith("linux") or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root on Linux mounts a disk of its own")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_on_a_full_disk_nothing_is_lost_and_writing_goes_on_when_there_is_room(small_disk, correct):
    store = Store(Home.open(small_disk / "home"))
    kept = []

    def fill(name, keep):
        for n in range(1000):
            correction = correct(f"{name} {n}?", "x" * 10_000, created_s=n)
            keep(correction)
            kept.append(correction.id)

    with store.writing("fill"):
        ballast = store.blobs.put(os.urandom(200_000))
        with pytest.raises(DiskFullError):
            fill("journal", lambda correction: store.journal.add([correction]))
        with pytest.raises(DiskFullError):
            store.blobs.put(os.urandom(200_000))
    assert kept
    with pytest.raises(DiskFullError):
        fill("inbox", store.remember)
    assert {c.id for c in store.journal.list()} == set(kept)
    store.blobs.delete(ballast)
    with store.writing("go on"):
        store.journal.add([correct("after")])
        store.database.check()
    assert {c.id for c in store.journal.list()} == {*kept, correct("after").id}


def test_the_sweep_spares_what_any_row_needs(store, entry, tmp_path):
    blobs = store.blobs
    with store.writing("test"):
        names = {k: blobs.put(k.encode()) for k in ("own", "refused", "served", "left", "orphan")}
        store.shelf.add(entry("own", state="own", payload=names["own"]))
        store.shelf.add(entry("refused", state="refused", payload=names["refused"]))
        served = Served(None, names["served"], AUTHOR)
        store.generations.commit(Generation(BASE, "roman", served, (), "train", 1.0))
        store.candidates.leave(Candidate(BASE, "roman", names["left"], "{}", 1.0))
        names["paused"] = store.checkpoints.save(BASE, "roman", b"paused", 1.0)
    later = Store(Home.open(store.home.path, clock=lambda: 9e9))
    with later.writing("test"):
        pass
    kept = {k for k, name in names.items() if later.blobs.has(name)}
    assert kept == {"own", "served", "left", "paused"}
