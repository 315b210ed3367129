"""Own feeds: no place twice, in whatever order database and file are lost; and others' forks."""

import shutil
import stat
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.store.feeds import Feeds, Fork
from hivelearn.store.home import Home
from hivelearn.store.store import Store

A, B, DEVICE = b"a" * 32, b"b" * 32, b"d" * 32


def claim(store, swarm=A):
    with store.writing("sign"):
        return store.feeds.claim(swarm, DEVICE, 1.0)


def put_back(home, kept, *names):
    """Put files of yesterday's copy back; what was not there then is gone."""
    for name in names:
        for each in home.glob(f"{name}*"):
            each.unlink()
        for each in kept.glob(f"{name}*"):
            shutil.copy(each, home / each.name)


def same(home, kept):
    """Return whether the files of the feeds are equal."""
    one, other = home / "feeds.json", kept / "feeds.json"
    return one.exists() and other.exists() and one.read_bytes() == other.read_bytes()


def test_numbers_follow_and_each_names_the_record_before(store, entry):
    first = claim(store)
    assert (first.seq, first.prev) == (1, None)
    own = entry("own", device=DEVICE, epoch=first.epoch, seq=1)
    with store.writing("test"):
        store.shelf.add(own)
    second, third = claim(store), claim(store)
    assert (second.epoch, second.seq, second.prev) == (first.epoch, 2, own.id)
    assert (third.seq, third.prev) == (3, None)  # 2 was never signed: a gap
    assert claim(store, B).epoch != first.epoch
    assert store.feeds.swarm_of(first.epoch) == A
    assert store.feeds.swarm_of(1) is None


@pytest.mark.skipif(sys.platform == "win32", reason="no mode bits")
def test_the_file_is_for_its_owner_alone(store):
    claim(store)
    assert stat.S_IMODE(store.feeds.file.stat().st_mode) == 0o600


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["claim", "claim other", "copy", "database back", "file back", "file gone", "garbage"]
        ),
        max_size=12,
    )
)
def test_no_place_is_given_twice_whatever_part_of_the_home_is_put_back(tmp_path_factory, moves):
    home, kept = (tmp_path_factory.mktemp(name) for name in ("home", "kept"))
    given = []
    for move in ["claim", "copy", *moves, "claim", "claim other"]:
        store = Store(Home.open(home / "h"))
        match move:
            case "claim" | "claim other":
                given.append(claim(store, A if move == "claim" else B))
            case "copy":
                shutil.rmtree(kept)
                shutil.copytree(home / "h", kept)
            # Never both of one copy: that is a whole home put back, which only others can tell.
            case "database back" if not same(home / "h", kept):
                put_back(home / "h", kept, "hive.db")
            case "file back" if store.feeds.stale(A) is store.feeds.stale(B) is None:
                put_back(home / "h", kept, "feeds.json")
            case "file gone":
                store.feeds.file.unlink(missing_ok=True)
            case "garbage":
                store.feeds.file.write_bytes(b'{"no": "feeds"}')
    places = [(place.epoch, place.seq) for place in given]
    assert len(set(places)) == len(places)


def test_a_write_that_fails_between_database_and_file_leaves_a_gap_and_no_alarm(store):
    first = claim(store)

    def cut(_point):
        raise KeyboardInterrupt

    torn = Feeds(store.database, store.feeds.file, reached=cut)
    with store.writing("sign"), pytest.raises(KeyboardInterrupt):
        torn.claim(A, DEVICE, 1.0)
    assert store.feeds.stale(A) is None
    assert claim(store).seq == first.seq + 2


def test_a_begun_epoch_of_which_the_database_knows_nothing_was_never_signed_in(store):

    def begun_and_cut():
        with store.together():
            store.feeds.begin(A, "first", 1.0)
            raise ZeroDivisionError

    with store.writing("sign"), pytest.raises(ZeroDivisionError):
        begun_and_cut()
    assert store.feeds.current(A) is None
    assert store.feeds.stale(A) is None
    assert claim(store).seq == 1


def test_a_fork_is_new_once_goes_back_and_is_forgotten_with_its_last_record(store, entry):
    one, two = entry("one", seq=7), entry("two", seq=9, epoch=4)
    with store.writing("test"):
        store.shelf.add(one)
        store.shelf.add(two)
        feeds = store.feeds
        fork = Fork(one.device, one.epoch, one.author, 6, 1.0)
        assert feeds.freeze(fork)
        assert not feeds.freeze(fork)
        assert not feeds.freeze(Fork(one.device, one.epoch, one.author, 3, 2.0))
        assert not feeds.freeze(Fork(one.device, one.epoch, one.author, 5, 3.0))
        assert feeds.frozen(one.device, one.epoch) == 3
        assert feeds.frozen(one.device, 4) is None
        with store.database.transaction() as writer:
            writer.execute("DELETE FROM patches WHERE id = ?", (one.id,))
        assert feeds.freeze(Fork(two.device, 4, two.author, 8, 4.0))
    assert [(each.epoch, each.agreed) for each in store.feeds.forks()] == [(4, 8)]
