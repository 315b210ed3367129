"""A disk without locks is refused by name and soon, at the first write and at every read."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hivelearn.store.errors import NoLocksError
from hivelearn.store.home import Home
from hivelearn.store.store import Store

fcntl = pytest.importorskip("fcntl")
SOURCE = Path(__file__).with_name("no_locks.c")

NEW = """
import sys
from hivelearn.store.home import Home
Home.at(sys.argv[1]).make()
"""
OLD = """
import sys
from hivelearn.store.home import Home
from hivelearn.store.store import Store
Store(Home.at(sys.argv[1])).journal.list()
"""


@pytest.fixture(scope="session")
def without_locks(tmp_path_factory):
    """The library that refuses locks, compiled where a compiler is at hand."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("library") / "no_locks.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def said(code, home, library, mode):
    environ = os.environ | {"LD_PRELOAD": str(library), "DENY": mode}
    command = [sys.executable, "-c", code, home]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, env=environ
    )
    return done.stderr.strip().splitlines()[-2:]


@pytest.mark.parametrize(("mode", "code"), [("all", NEW), ("index", NEW), ("index", OLD)])
def test_a_disk_without_locks_is_refused_and_the_remedy_names_the_variable(
    without_locks, tmp_path, correct, mode, code
):
    home = tmp_path / "home"
    if code is OLD:
        store = Store(Home.open(home))
        with store.writing("test"):
            store.journal.add([correct("14?")])
    error, remedy = said(code, home, without_locks, mode)
    assert "NoLocksError" in error
    assert "cannot be locked" in error
    assert "HIVELEARN_HOME" in remedy


NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP]


@pytest.mark.parametrize("code", NO_LOCKS)
def test_no_lock_is_ever_replaced_by_a_file_that_a_killed_process_leaves(home, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):
        with pytest.raises(NoLocksError), home.writer("test"):
            pass
    monkeypatch.undo()
    with home.writer("the disk has locks again"):
        pass


REFUSALS = [
    sqlite3.SQLITE_PROTOCOL,  # after ten seconds of SQLite's own patience
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_SHMLOCK,
]


@pytest.mark.parametrize("code", REFUSALS)
def test_whatever_sqlite_says_of_locks_is_told_as_that_at_the_first_try(home, monkeypatch, code):
    tries = []

    def refuse(*_, **__):
        tries.append(code)
        error = sqlite3.OperationalError("locking protocol")
        error.sqlite_errorcode = code
        raise error

    home.database.touch()
    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(NoLocksError, match="locking protocol"):
        Store(home).journal.list()
    assert len(tries) == 1
