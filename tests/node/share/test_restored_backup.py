"""A home put back from yesterday: no number twice if it can know it, no blame if it cannot."""

import shutil
from contextlib import contextmanager

import pytest

from hivelearn.cli import doctor_checks
from hivelearn.node import reputation
from hivelearn.node.events import FeedForked, FeedRestarted
from hivelearn.node.share.library import Library
from hivelearn.patch.envelope import Patch, placed
from hivelearn.store.errors import LossWarning
from hivelearn.swarm import topics
from hivelearn.swarm.fabrics.memory import MemoryNetwork
from hivelearn.testing.hostile import changed, shelf_state


@pytest.fixture
def patches(author):
    """A function to the n-th variant of an adapter, sealed by a node."""
    _, learnt = author
    return lambda node, n: node.seal(changed(learnt, lambda b: b * (1 - n / 100)), domain="yes")


@contextmanager
def hearing(node):
    """Collect what is told of feeds."""
    heard = []
    with node.events.subscribe(
        lambda event: heard.append(event) if isinstance(event, FeedForked | FeedRestarted) else None
    ):
        yield heard


def seen(node):
    """Return what the doctor says of feeds, as pairs of state and sentence."""
    return [(check.state, check.what) for check in doctor_checks.feeds(node.context)]


def published(node, patch):
    """Publish without a network."""
    library = Library(node.context)
    topic = topics.topic(node.base, "yes")
    library.open(topic, "yes")
    return library.publish(topic, patch)


def copied(node, to):
    """Copy a home that nobody uses."""
    node.close()
    return shutil.copytree(node.home, to)


def meet(first, second, network, done):
    """Let two nodes exchange until ``done``."""
    how = {"fabric": "memory", "network": network}
    with first.join("yes", **how) as one, second.join("yes", **how) as other:
        for _ in range(60):
            for swarm in (one, other):
                swarm._runner().sync(1.0, quiet_s=0.05)
            if done():
                return True
    return False


def test_a_home_put_back_whole_is_nobodys_harm_and_goes_on_in_a_new_epoch(make, patches, tmp_path):
    owner, friend, network = make("owner"), make("friend"), MemoryNetwork()
    friend.vouch(owner.key)
    first = published(owner, patches(owner, 1))
    copied(owner, tmp_path / "yesterday")
    lost = [published(owner, patches(owner, n)) for n in (2, 3)]
    here = friend.context.shelf
    with hearing(friend) as forks:
        assert meet(owner, friend, network, lambda: all(here.get(one.id) for one in lost))
        restored = make("yesterday")
        with hearing(restored) as told:
            again = published(restored, patches(restored, 4))
            assert again.body.place == lost[0].body.place  # it cannot know yet
            news = lambda: [
                one for one in here.list(author=first.body.author) if one.epoch not in (0, old)
            ]
            old = first.body.epoch
            assert meet(restored, friend, network, lambda: told and news())
            later = published(restored, patches(restored, 5))
            assert meet(restored, friend, network, lambda: here.get(later.id))
    author = owner.context.identity.author
    # The friend: told once, nothing held against anybody, the first history stands.
    assert forks == [FeedForked(author, owner.context.identity.device, 1)]
    assert author in reputation.trusted(friend.context)
    assert author not in reputation.standings(friend.context)
    assert shelf_state(friend, first) == shelf_state(friend, lost[0]) == "quarantined"
    assert shelf_state(friend, again) == "refused"
    # The restored home: a new epoch, in which what nobody takes was signed again.
    assert told == [FeedRestarted("met itself"), FeedForked(author, first.body.device, 1)]
    (anew,) = (one for one in news() if one.id != later.id)
    assert anew.payload == again.body.payload_root.hex()
    assert (anew.seq, later.body.seq, later.body.prev) == (1, 2, anew.id)
    assert friend.context.store.feeds.frozen(first.body.device, old) == 1
    # And both doctors say what happened.
    ((state, what),) = seen(friend)
    assert state == "ok"
    assert f"{owner.name} signed numbers behind 1 a second time" in what
    begun, forked = seen(restored)
    assert "began a new epoch, because others had newer records" in begun[1]
    assert "another copy of this home" in forked[1]


def test_a_home_put_back_whole_that_signed_nothing_makes_no_fork(make, patches, tmp_path):
    owner, friend, network = make("owner"), make("friend"), MemoryNetwork()
    published(owner, patches(owner, 1))
    copied(owner, tmp_path / "yesterday")
    newer = published(owner, patches(owner, 2))
    here = friend.context.shelf
    assert meet(owner, friend, network, lambda: here.get(newer.id))
    restored = make("yesterday")
    with hearing(friend) as forks, hearing(restored) as told:
        assert meet(restored, friend, network, lambda: told)
        assert meet(restored, friend, network, lambda: True)  # met again, it is no news
    assert (forks, told) == ([], [FeedRestarted("met itself")])
    assert published(restored, patches(restored, 3)).body.seq == 1


def test_a_saved_patch_tells_a_home_that_it_is_older_too(make, patches, tmp_path):
    owner = make("owner")
    first = published(owner, patches(owner, 1))
    copied(owner, tmp_path / "yesterday")
    saved = published(owner, patches(owner, 2))
    saved.save(tmp_path / "saved")
    restored = make("yesterday")
    with hearing(restored) as told:
        restored.adopt(Patch.load(tmp_path / "saved", now_s=owner.context.clock()))
        after = published(restored, patches(restored, 3))
    assert told == [FeedRestarted("met itself")]
    assert after.body.epoch not in (first.body.epoch, 0)


def test_a_database_put_back_alone_is_seen_before_anything_is_signed(make, patches, tmp_path):
    owner = make("owner")
    first = published(owner, patches(owner, 1))
    shutil.copy(owner.home / "hive.db", tmp_path / "yesterday.db")
    lost = published(owner, patches(owner, 2))
    for side in ("hive.db-wal", "hive.db-shm"):
        (owner.home / side).unlink(missing_ok=True)
    shutil.copy(tmp_path / "yesterday.db", owner.home / "hive.db")
    with pytest.warns(LossWarning, match="writes that were acknowledged are gone"):
        restored = make("owner")
    _, problem = restored.status().problems
    assert "an older copy of itself: the database is older" in problem
    assert seen(restored) == [("problem", problem)]
    with hearing(restored) as told:
        next_one = published(restored, patches(restored, 3))
        published(restored, patches(restored, 4))
    assert told == [FeedRestarted("older database")]
    assert next_one.body.epoch not in (first.body.epoch, lost.body.epoch)
    assert (next_one.body.seq, next_one.body.prev) == (1, None)
    (loss,) = restored.status().problems  # what else the old copy lacks is still told
    assert "gone from hive.db" in loss
    assert [state for state, _ in seen(restored)] == ["ok"]


def test_a_feeds_file_that_is_gone_begins_a_new_epoch(make, patches):
    owner = make("owner")
    first = published(owner, patches(owner, 1))
    owner.context.store.feeds.file.unlink()
    with hearing(owner) as told:
        second = published(owner, patches(owner, 2))
    assert told == [FeedRestarted("no file")]
    assert second.body.epoch != first.body.epoch


def test_each_swarm_has_its_own_numbers_and_one_restart_touches_no_other(make, patches):
    owner = make("owner")
    feeds, device = owner.context.store.feeds, owner.context.identity.device
    with owner.context.store.writing("test"):
        places = [feeds.claim(swarm * 32, device, 1.0) for swarm in (b"a", b"b", b"a")]
        feeds.begin(b"a" * 32, "met itself", 2.0)
        after = [feeds.claim(swarm * 32, device, 3.0) for swarm in (b"a", b"b")]
    assert [place.seq for place in places] == [1, 1, 2]
    assert [place.seq for place in after] == [1, 2]
    assert after[1].epoch == places[1].epoch
    assert len({place.epoch for place in places + after}) == 3


def test_an_epoch_that_forked_is_frozen_and_its_older_records_are_still_taken(make, kit, patches):
    owner, friend = make("owner"), make("friend")
    told = [published(owner, patches(owner, n)) for n in range(5)]
    twin = _signed_at(owner, patches(owner, 9), told[2].body.place)
    friend.vouch(owner.key)
    with hearing(friend) as forks:
        assert kit.send(told[2], friend)
        assert not kit.send(twin, friend)
        taken = [kit.send(one, friend) for one in (told[4], told[0], told[1], told[3])]
    assert taken == [False, True, True, False]
    assert [fork.agreed for fork in forks] == [2]
    evidence = friend.context.shelf.get(twin.id)
    assert (evidence.state, evidence.envelope, evidence.payload) == ("refused", twin.envelope, None)
    assert shelf_state(friend, told[2]) == "quarantined"  # what was here stays, and is measured


def test_another_predecessor_than_was_told_shows_a_fork_too(make, kit, patches):
    owner, friend = make("owner"), make("friend")
    told = [published(owner, patches(owner, n)) for n in range(3)]
    other = _signed_at(owner, patches(owner, 8), told[1].body.place)
    friend.vouch(owner.key)
    assert kit.send(told[2], friend)
    with hearing(friend) as forks:
        assert not kit.send(other, friend)  # number 2, which number 3 names otherwise
    assert [fork.agreed for fork in forks] == [1]


def _signed_at(owner, patch, place):
    return placed(patch, place, owner.context.identity, owner.context.clock())
