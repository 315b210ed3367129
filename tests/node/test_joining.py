"""Two nodes in one process on the memory fabric: patches travel, handles are counted."""

import time

import pytest

from hivelearn.errors import UsageError
from hivelearn.node.living import Night, Rhythm
from hivelearn.store.errors import WriterBusyError
from hivelearn.testing.hostile import shelf_state


def test_a_patch_travels_rests_in_quarantine_and_is_admitted(make, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    with owner.join("yes", fabric="memory") as theirs, node.join("yes", fabric="memory") as ours:
        theirs.publish(patch)
        for _ in range(10):
            ours.sync(2.0)
            if node._bench.store.shelf.get(patch.id):
                break
        assert shelf_state(node, patch) == "quarantined"
        assert any(peer.verified for peer in ours.peers)
        assert node.merge("yes").outcome == "admitted"  # the same process may write meanwhile
    assert node.ask(kit.prompts("yes", 1, held=True)[0], max_new_tokens=1).route.mode == "routed"


def test_the_last_handle_closes_the_network_and_gives_the_lock_back(make):
    node, other = make(), make()
    first = node.join("yes", fabric="memory")
    second = node.join("no", fabric="memory")
    with pytest.raises(WriterBusyError, match="join the swarm"):
        other.train("yes")
    first.close()
    first.close()
    assert node.status().writer is not None
    with pytest.raises(UsageError, match="closed"):
        first.sync(0.1)
    second.close()
    assert node.status().writer is None
    with node.join("yes", fabric="memory"):  # and it can be joined again
        pass


def test_a_join_that_cannot_be_is_refused_and_leaves_nothing_open(make):
    node = make()
    for domains, how in (
        ((), {}),
        (("Not A Domain",), {}),
        (("yes",), {"fabric": "pigeons"}),
    ):
        with pytest.raises(UsageError):
            node.join(*domains, **how)
        assert node.status().writer is None
    with node.join("yes", fabric="memory"), pytest.raises(UsageError, match="one fabric"):
        node.join("yes", fabric="lan")


def test_a_patch_of_a_domain_not_joined_is_not_published(author):
    owner, patch = author
    with owner.join("other", fabric="memory") as swarm, pytest.raises(UsageError, match="'yes'"):
        swarm.publish(patch)


def test_a_night_in_a_swarm_receives_admits_and_stops_clean(make, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    with owner.join("yes", fabric="memory") as theirs:
        theirs.publish(patch)
        rhythm = Rhythm(("yes",), None, round_s=0.05, sync_s=1.0)
        with Night(node, node._hub, rhythm, {"fabric": "memory"}) as night:
            end = time.monotonic() + 30
            while not night.merged and time.monotonic() < end:
                time.sleep(0.02)
        assert night.merged[0].outcome == "admitted"
        assert night.errors == []
    assert node.status().writer is None


def test_live_lives_and_stops_twice_within_seconds(make, kit):
    node = make()
    night = node.live("yes", fabric="memory")
    began = time.monotonic()
    night.stop()
    night.stop()
    assert time.monotonic() - began < 10
    assert node.status().writer is None
