"""kill -9 at every point of an evening: nothing acknowledged is lost, nothing is half there.

A killed process does not test fsync: the page cache survives it. What a power cut
leaves rests on the order of writes in files.py and on synchronous=FULL.
"""

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hivelearn.store.blobs import ORPHAN_AGE_S
from hivelearn.store.home import Home
from hivelearn.store.schema import NEEDED_BLOBS
from hivelearn.store.store import Store

BASE, PATCH = b"b" * 32, b"p" * 32
CHILD = Path(__file__).with_name("crash_child.py")
POINTS = 53  # what a whole evening passes; a test below holds the number


def run(home, die_at):
    command = [sys.executable, CHILD, home, str(die_at)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.splitlines(), done.stderr


def bytes_of(path):
    return b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())


def check_nothing_acknowledged_is_lost(store, said):
    rights = {c.right for c in store.journal.list()}
    assert "remembered 1" not in said or "right" in rights
    assert "remembered 2" not in said or "quicksilver" in rights or "forgetting" in said
    if "shelved" in said:
        assert store.blobs.read(store.shelf.get(PATCH).payload) == b"payload" * 1000
    if "committed" in said:
        assert store.generations.current(BASE, "roman").specialist.patch == PATCH
    if "paused 2" in said:
        assert store.checkpoints.load(BASE, "roman") == b"second checkpoint"
    elif "paused 1" in said:
        assert store.checkpoints.load(BASE, "roman") in (b"first checkpoint", b"second checkpoint")
    if "adopted" in said:
        assert store.blobs.read(hashlib.sha256(b"fetched").hexdigest()) == b"fetched"
    if "forgotten" in said:
        assert "quicksilver" not in rights


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("point", range(1, POINTS + 1))
def test_killed_at_any_point_the_home_is_whole(tmp_path, point):
    code, said, _ = run(tmp_path / "home", point)
    assert code == -signal.SIGKILL
    store = Store(Home.open(tmp_path / "home"))
    check_nothing_acknowledged_is_lost(store, said)  # as a reader, before any repair
    assert store.loss() is None  # the witness never knows more than what was acknowledged

    late = Store(Home.open(tmp_path / "home", clock=lambda: time.time() + 2 * ORPHAN_AGE_S))
    with late.writing("recovery"):  # the lock died with its holder
        late.database.check()
        assert late.losses.list() == ()
    check_nothing_acknowledged_is_lost(late, [s for s in said if s != "adopted"])
    needed = {name for (name,) in late.database.rows(NEEDED_BLOBS)}
    kept = {path.name for path in late.home.blobs.glob("*/*")}
    assert kept == needed  # no row without its blob, no blob without its row, no tmp
    assert list(late.home.inbox.iterdir()) == []
    if "quicksilver" not in {c.right for c in late.journal.list()}:
        assert b"quicksilver" not in bytes_of(late.home.path)  # forgetting was finished
    given = [tuple(map(int, s.split()[1:])) for s in said if s.startswith("place")]
    assert late.feeds.stale(b"s" * 32) is None  # no crash looks like a home put back
    with late.writing("sign"):
        place = late.feeds.claim(b"s" * 32, b"d" * 32, 2.0)
    assert all((place.epoch, place.seq) == (epoch, seq + 1) for epoch, seq in given)


def test_the_evening_passes_as_many_points_as_are_tested(tmp_path):
    code, said, errors = run(tmp_path / "home", 0)
    assert (code, said[-1]) == (0, f"points {POINTS}"), errors
