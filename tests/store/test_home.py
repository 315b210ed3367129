"""Homes: private, of one version, and refused with a reason when they cannot be used."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from hivelearn.files import DiskError
from hivelearn.store import errors
from hivelearn.store.home import VARIABLE, Home
from hivelearn.store.schema import MIGRATIONS
from hivelearn.store.store import Store

HOLDER = """
import sys
from hivelearn.store.home import Home
with Home.open(sys.argv[1]).writer("train roman"):
    print("held", flush=True)
    sys.stdin.read()
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="mode bits of POSIX")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def as_nobody(act):
    """Run ``act`` in a child without root's rights; return the name of what it raised."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests' threads; we exec nothing
        child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            act()
            os.write(write, b"nothing")
        except BaseException as error:  # noqa: BLE001 - its name is the answer
            os.write(write, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as pipe:
        return pipe.read().decode()


@pytest.fixture
def open_to_nobody(tmp_path):
    """Let user nobody pass through pytest's private directories to this test's own."""
    walls = [p for p in tmp_path.parents if p.is_dir() and p.owner() == Path(tmp_path).owner()]
    before = {p: mode(p) for p in walls if mode(p) & 0o111 != 0o111}
    for wall, bits in before.items():
        wall.chmod(bits | 0o111)
    tmp_path.chmod(0o777)
    yield tmp_path
    for wall, bits in before.items():
        wall.chmod(bits)


@posix
def test_a_home_is_made_once_and_private(tmp_path):
    home = Home.open(tmp_path / "deep" / "home")
    assert mode(home.path) == 0o700
    assert Home.open(home.path) == home
    assert all(mode(room) == 0o700 for room in home.path.iterdir() if room.is_dir())


def test_the_variable_names_the_home_and_an_argument_overrides_it(tmp_path):
    named = {VARIABLE: str(tmp_path / "named")}
    assert Home.open(environ=named).path == tmp_path / "named"
    assert Home.open(tmp_path / "given", environ=named).path == tmp_path / "given"


def test_without_either_it_lies_where_the_platform_keeps_data(tmp_path, monkeypatch):
    for variable in ("HOME", "XDG_DATA_HOME", "LOCALAPPDATA", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    home = Home.open(environ={})
    assert home.path.name == "hivelearn"
    assert tmp_path in home.path.parents


@posix
def test_a_home_that_others_could_enter_is_made_private(tmp_path):
    Home.open(tmp_path / "home").path.chmod(0o755)
    assert mode(Home.open(tmp_path / "home").path) == 0o700


@posix
def test_a_directory_that_holds_other_things_is_not_taken_over(tmp_path):
    (tmp_path / "thesis.tex").touch()
    before = mode(tmp_path)
    with pytest.raises(errors.NotAHomeError, match=r"thesis\.tex"):
        Home.open(tmp_path)
    assert mode(tmp_path) == before


def test_a_fresh_volume_is_as_good_as_empty(tmp_path):
    (tmp_path / "lost+found").mkdir()
    assert Home.open(tmp_path).blobs.is_dir()


def test_a_file_is_no_home(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(errors.NotAHomeError):
            Home.open(path)


def test_a_file_in_place_of_a_room_is_said_so(tmp_path):
    home = Home.open(tmp_path / "home")
    home.inbox.rmdir()
    home.inbox.touch()
    with pytest.raises(errors.NotAHomeError, match="inbox"):
        Home.open(home.path)


def test_a_home_of_a_later_version_is_left_alone(store):
    with store.writing("test"):
        pass
    with closing(sqlite3.connect(store.home.database)) as later:
        later.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = store.home.database.read_bytes()
    with pytest.raises(errors.LaterVersionError) as caught:
        Home.open(store.home.path)
    assert (caught.value.found, caught.value.known) == (len(MIGRATIONS) + 1, len(MIGRATIONS))
    for write in (store.journal.list, lambda: store.writing("test").__enter__()):
        with pytest.raises(errors.LaterVersionError):
            write()
    assert store.home.database.read_bytes() == before
    with store.home.writer("the lock was given back"):
        pass


def test_what_is_no_database_is_called_damaged_and_left_alone(home):
    home.database.write_bytes(b"not a database, but forty-two is " * 42)
    with pytest.raises(errors.HomeDamagedError):
        Home.open(home.path)
    with pytest.raises(errors.HomeDamagedError), Store(home).writing("test"):
        pass
    assert home.database.read_bytes().startswith(b"not a database")


@posix
def test_a_home_that_cannot_be_made_is_read_only(open_to_nobody):
    (open_to_nobody / "wall").mkdir(mode=0o755)
    (open_to_nobody / "wall").chmod(0o555)
    refused = as_nobody(lambda: Home.open(open_to_nobody / "wall" / "home"))
    assert refused == "DiskReadOnlyError"


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs two users")
def test_somebody_elses_open_home_is_unsafe(open_to_nobody):
    home = Home.open(open_to_nobody / "home")
    home.path.chmod(0o755)
    assert as_nobody(lambda: Home.open(home.path)) == "UnsafeHomeError"


@posix
def test_a_read_only_home_can_be_read_and_refuses_every_write(open_to_nobody, correct):
    path = open_to_nobody / "home"
    store = Store(Home.open(path))
    with store.writing("test"):
        store.journal.add([correct("14?")])
    for directory in (path, *path.iterdir()):
        if os.geteuid() == 0:
            os.chown(directory, 65534, 65534)
        directory.chmod(0o500 if directory.is_dir() else 0o400)

    def read():
        assert len(Store(Home.open(path)).journal.list()) == 1

    def write():
        with Store(Home.open(path)).writing("test"):
            pass

    def remember():
        Store(Home.open(path)).remember(correct("15?"))

    try:
        heard = [as_nobody(act) for act in (read, write, remember)]
    finally:
        path.chmod(0o700)
    assert heard == ["nothing", "DiskReadOnlyError", "DiskReadOnlyError"]


def test_a_busy_home_says_who_writes_and_what_to_do(tmp_path):
    home = Home.open(tmp_path / "home", clock=lambda: 1000.0)
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, home.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "held\n"
    with pytest.raises(errors.WriterBusyError) as caught, home.writer("merge", wait_s=0.05):
        pass
    assert (caught.value.pid, caught.value.doing) == (child.pid, "train roman")
    assert str(child.pid) in caught.value.remedy
    child.kill()
    child.communicate()
    with home.writer("merge"):  # kill -9 leaves a stale sidecar and no lock
        assert home.lock.holder() == (os.getpid(), "merge", 1000.0)
    assert home.lock.holder() == (None, "", None)


@pytest.mark.parametrize("sidecar", [b"", b"[]", b"\xff", b'{"pid": "x"}', b"[" * 100_000])
def test_a_broken_sidecar_only_costs_the_name(home, sidecar):
    other = Home.open(home.path)
    with home.writer("train"):
        (home.path / "writer.json").write_bytes(sidecar)
        with pytest.raises(errors.WriterBusyError, match="another process"):
            other.writer("merge", wait_s=0.01).__enter__()


def test_two_node_objects_on_one_home_do_not_write_at_once(home):
    with home.writer("one"), pytest.raises(errors.WriterBusyError) as caught:
        Home.open(home.path).writer("two", wait_s=0.01).__enter__()
    assert caught.value.pid == os.getpid()


def test_within_a_process_blocks_nest_and_threads_join(home):
    other = Home.open(home.path)
    joined, leave = threading.Event(), threading.Event()

    def join():
        with home.writer("thread"):
            joined.set()
            leave.wait(60)

    thread = threading.Thread(target=join)
    with home.writer("outer"):
        with home.writer("inner"):
            pass
        thread.start()
        joined.wait(60)
    with pytest.raises(errors.WriterBusyError):  # the thread's block is still open
        other.writer("other", wait_s=0.01).__enter__()
    leave.set()
    thread.join(60)
    with other.writer("other"):
        pass


def test_a_lock_whose_sidecar_cannot_be_written_is_given_back(home):
    (home.path / "writer.json").mkdir()
    with pytest.raises(DiskError):
        home.writer("one").__enter__()
    (home.path / "writer.json").rmdir()
    with Home.open(home.path).writer("two"):
        pass
