"""What was acknowledged and is gone is said: whatever happens to the files of the database."""

import itertools
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hivelearn.files import DiskError
from hivelearn.store import errors
from hivelearn.store.home import Home
from hivelearn.store.store import Store
from hivelearn.store.witness import LINE_BYTES, Loss, Tally, Witness, lost

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and mode bits")

# Two corrections reach the file, three only its write-ahead log; then kill -9.
WRITER = """
import os, signal, sys
from hivelearn.store.correction import Correction, to_conversation
from hivelearn.store.home import Home
from hivelearn.store.store import Store
def say(n):
    return Correction(to_conversation(f"{n}?"), f"right {n}", "roman", b"b" * 32, float(n))
store = Store(Home.open(sys.argv[1]))
with store.writing("first"):
    store.journal.add([say(1)])
    store.journal.add([say(2)])
with store.writing("second"):
    for n in (3, 4, 5):
        store.journal.add([say(n)])
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A home whose writer was killed: five corrections are acknowledged."""
    home = tmp_path_factory.mktemp("killed") / "home"
    subprocess.run([sys.executable, "-c", WRITER, home], check=False, timeout=60)
    assert (home / "hive.db-wal").stat().st_size
    return home


@pytest.fixture
def damaged(killed, tmp_path):
    """A function that copies the home, lets something happen to it, and opens it."""

    def copy(harm):
        path = Path(shutil.copytree(killed, tmp_path / "home"))
        harm(path)
        told = []
        return Store(Home.at(path), lost=told.append), told

    return copy


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 0xFF
    path.write_bytes(data)


def delete_log(home):
    (home / "hive.db-wal").unlink()
    (home / "hive.db-shm").unlink()


def rights(store):
    return {c.right for c in store.journal.list()}


ALL = {f"right {n}" for n in range(1, 6)}


@posix
def test_a_kill_alone_loses_nothing_and_nothing_is_claimed(damaged):
    store, told = damaged(lambda _: None)
    assert store.loss() is None
    with store.writing("go on"):
        assert rights(store) == ALL
    assert (store.losses.list(), told) == ((), [])


@posix
def test_a_deleted_log_is_said_before_anything_is_written(damaged):
    store, told = damaged(delete_log)
    loss = store.loss()
    assert rights(store) == {"right 1", "right 2"}
    assert (loss.commits, loss.corrections) == (3, 3)
    assert "3 corrections among them" in str(loss)
    assert store.losses.list() == ()  # a reader writes nothing
    store.loss()
    assert told == [loss]  # once


@posix
def test_the_first_writer_writes_a_loss_down_and_counts_on_from_the_higher_number(damaged, correct):
    store, told = damaged(delete_log)
    acknowledged = store.loss().commits + store.database.tally().commits
    with store.writing("go on"):
        assert store.database.tally().commits == acknowledged
        store.journal.add([correct("6?")])
    (written,) = store.losses.list()
    assert (written.commits, written.corrections) == (3, 3)
    assert len(told) == 1
    again = Store(Home.at(store.home.path))
    assert again.loss() is None  # it is written down
    assert again.database.tally() == Tally(acknowledged + 1, 3, correct("6?").id)


@posix
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
@pytest.mark.parametrize("harm", [cut, flip], ids=["cut", "flipped"])
@pytest.mark.parametrize("name", ["hive.db", "hive.db-wal"])
def test_whatever_is_damaged_it_is_all_there_or_it_is_said(damaged, name, harm, share):
    try:
        store, told = damaged(
            lambda home: harm(home / name, int((home / name).stat().st_size * share))
        )
        store.loss()
        with store.writing("go on"):
            assert rights(store) == ALL or told
    except (errors.HomeDamagedError, errors.NoLocksError, DiskError):
        pass  # said loudest
    # A byte that SQLite does not look at may be flipped unseen; a row may not.


EMPTIED = {
    "no bytes": lambda home: (home / "hive.db").write_bytes(b""),
    "one byte": lambda home: (home / "hive.db").write_bytes(b"\0"),
    "fifty bytes": lambda home: (home / "hive.db").write_bytes(b"\0" * 50),
    "missing": lambda home: (home / "hive.db").unlink(),
}


@posix
@pytest.mark.parametrize("blob", [True, False], ids=["full blobs", "no blobs"])
@pytest.mark.parametrize("empty", EMPTIED.values(), ids=EMPTIED.keys())
def test_an_emptied_database_does_not_open_as_a_new_one(damaged, empty, blob):
    def harm(home):
        delete_log(home)
        empty(home)
        if blob:  # then the witness may be gone, too
            (home / "blobs" / "ab").mkdir()
            (home / "blobs" / "ab" / ("ab" * 32)).write_bytes(b"payload")
            (home / "witness").unlink()

    with pytest.raises(errors.HomeDamagedError) as caught:
        damaged(harm)[0].loss()
    assert "backup" in caught.value.remedy
    store = Store(Home(caught.value.path.parent))
    with pytest.raises(errors.HomeDamagedError), store.writing("go on"):
        pass
    with store.home.writer("the lock was given back"):
        pass


@posix
def test_a_filled_database_whose_version_says_empty_is_no_new_one(damaged):
    def harm(home):
        delete_log(home)
        raw = bytearray((home / "hive.db").read_bytes())
        raw[60:64] = bytes(4)  # where SQLite keeps user_version
        (home / "hive.db").write_bytes(raw)

    with pytest.raises(errors.HomeDamagedError):
        damaged(harm)[0].loss()


@posix
def test_forgotten_rows_that_are_back_are_said(tmp_path, correct):
    home = Home.open(tmp_path / "home")
    store = Store(home)
    with store.writing("test"):
        store.journal.add([correct("14?")])
    backup = home.database.read_bytes()
    with store.writing("test"):
        store.journal.forget(domain="roman")
    home.database.write_bytes(backup)
    loss = Store(home).loss()
    assert loss.corrections == -1
    assert "forgotten is back" in str(loss) or "had been forgotten" in str(loss)


def test_the_witness_does_not_name_what_was_forgotten(store, correct):
    given = correct("14?")
    with store.writing("test"):
        store.journal.add([given])
        assert given.id.encode() in (store.home.path / "witness").read_bytes()
        store.journal.forget(domain="roman")
        store.journal.add([correct("hex?", domain="hex")])
    assert given.id.encode() not in (store.home.path / "witness").read_bytes()


@posix
def test_what_people_said_is_readable_by_their_owner_alone(tmp_path, correct):
    store = Store(Home.open(tmp_path / "home"))
    store.remember(correct("14?"))
    (left,) = store.home.inbox.iterdir()
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    store.home.database.touch(0o644)  # as an earlier version made it
    with store.writing("test"):
        store.journal.add([correct("15?")])
        store.blobs.put(b"checkpoint")
        found = [path for path in store.home.path.rglob("*") if path.is_file()]
        names = {path.name for path in found}
        assert {"hive.db", "hive.db-wal", "hive.db-shm", "witness"} <= names
        open_to_others = [p.name for p in found if stat.S_IMODE(p.stat().st_mode) & 0o077]
    assert open_to_others == ["writer.json"]


def test_a_read_only_transaction_and_a_failed_one_are_not_counted(store, correct):
    with store.writing("test"):
        before = store.database.tally()
        with store.together():
            store.database.rows("SELECT 1")
        with pytest.raises(ZeroDivisionError), store.together():
            raise ZeroDivisionError(store.journal.add([correct("14?")]))
        assert store.database.tally() == before
        with store.together():
            store.journal.add([correct("14?")])
            store.journal.add([correct("15?")])
        assert store.database.tally().commits == before.commits + 1


def test_one_transaction_is_one_small_write_outside(store, correct, monkeypatch):
    written = []
    monkeypatch.setattr(Witness, "write", lambda _, tally: written.append(tally.line()))
    with store.writing("test"):
        written.clear()
        for n in range(5):
            store.journal.add([correct(f"{n}?")])
    assert [len(line) for line in written] == [LINE_BYTES] * 5


@pytest.mark.parametrize("at", range(0, 2 * LINE_BYTES, 16))
def test_a_line_that_is_cut_leaves_the_one_before_it(tmp_path, at):
    witness = Witness(tmp_path / "witness")
    for commits in (7, 8):
        witness.write(Tally(commits, 1, "ab" * 32))
    witness.close()
    raw = (tmp_path / "witness").read_bytes()
    newest = raw[:LINE_BYTES] if at < LINE_BYTES else raw[LINE_BYTES:]
    (tmp_path / "witness").write_bytes(raw[:at] + b"\0" * 16 + raw[at + 16 :])
    left = Witness(tmp_path / "witness").read().commits
    assert left == 7 or Tally.parse(newest).commits == 7


NO_LINES = [b"", b"\0" * 256, b"witness", b"1 1 - 00000000\n", b"-1 x y z", b"\xff" * 500]


@pytest.mark.parametrize("raw", NO_LINES)
def test_a_witness_that_says_nothing_claims_nothing(tmp_path, raw):
    (tmp_path / "witness").write_bytes(raw)
    assert Witness(tmp_path / "witness").read() is None


def test_a_database_is_behind_its_witness_or_nothing_is_lost():
    for said, held in itertools.product(range(3), repeat=2):
        loss = lost(Tally(said, said, ""), Tally(held, held, ""), 1.0)
        assert loss == (Loss(said - held, said - held, "", 1.0) if held < said else None)
    assert lost(None, Tally(0, 0, ""), 1.0) is None


@pytest.mark.parametrize(("harm", "told"), [
    ("DELETE FROM corrections WHERE rowid = 2", "1 correction is gone"),
    ("INSERT INTO corrections SELECT * FROM copy", "1 correction is back"),
])  # fmt: skip
def test_a_page_of_an_earlier_time_is_told_by_the_count(tmp_path, correct, harm, told):
    """As a disk leaves it that loses one write: SQLite finds nothing wrong with such a file."""
    path = tmp_path / "home"
    store = Store(Home.at(path))
    with store.writing("first"):
        store.journal.add([correct(f"{n}?", "x") for n in range(4)])
    with closing(sqlite3.connect(path / "hive.db", isolation_level=None)) as disk:
        counted = disk.execute("SELECT commits, corrections, last FROM tally").fetchone()
        disk.execute("CREATE TABLE copy AS SELECT * FROM corrections WHERE rowid = 1")
        disk.execute("UPDATE copy SET id = 'c' || substr(id, 2)")
        disk.execute(harm)
        disk.execute("UPDATE tally SET commits = ?, corrections = ?, last = ?", counted)
        disk.execute("DROP TABLE copy")
    losses = []
    again = Store(Home.at(path), lost=losses.append)
    assert again.loss() is not None
    assert told in str(losses[0])
    with again.writing("settle"):
        pass
    assert again.loss() is None
    assert len(again.all_losses()) == 1
