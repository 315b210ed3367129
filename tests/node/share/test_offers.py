"""What leaves a node: what was published, and what was heard in the very topic. Nothing else."""

from dataclasses import replace

import pytest

from hivelearn.errors import UsageError
from hivelearn.node.share.library import Library
from hivelearn.patch.envelope import Patch
from hivelearn.patch.notice import read_envelope
from hivelearn.swarm import topics

OPEN, SECRET = b"o" * 32, b"s" * 32
HUSH = topics.swarm("hush")


@pytest.fixture
def trained(make, kit):
    """A node with a patch of its own that nobody has published."""
    node = make("diary")
    kit.teach(node, "diary", "yes yes")
    return node, node.train("diary")


def given(library, patch, *where):
    where = where or (OPEN, SECRET)
    return library.envelope(patch.id, where), library.payload(patch.id, where)


def arrive(library, topic, patch, now_s):
    notice = read_envelope(patch.envelope, now_s=now_s)
    assert library.wants(topic, notice)
    library.partial(notice).write_bytes(patch.adapter.to_bytes())
    library.accept(notice, library.partial(notice))
    return notice


def test_what_was_never_published_is_offered_to_nobody(trained):
    node, patch = trained
    library = Library(node.context)
    library.open(OPEN, "diary")
    assert library.heads(OPEN) == []
    assert given(library, patch) == (None, None)


def test_what_was_published_is_offered_in_that_topic_at_every_later_join(trained):
    node, patch = trained
    library = Library(node.context)
    library.open(SECRET, "diary", HUSH)
    told = library.publish(SECRET, patch)
    later = Library(node.context)
    later.open(OPEN, "diary")
    assert later.heads(OPEN) == later.heads(SECRET) == []  # the secret topic is not joined now
    assert given(later, told) == (None, None)
    later.open(SECRET, "diary", HUSH)
    assert later.heads(SECRET) == [told.id]
    assert later.heads(OPEN) == []
    assert given(later, told)[0] == told.envelope
    assert given(later, told, OPEN) == (None, None)
    later.close(SECRET)
    assert later.heads(SECRET) == []
    assert given(later, told) == (None, None)


def test_a_patch_has_another_id_and_another_feed_in_each_swarm_and_says_the_same(trained):
    node, patch = trained
    library = Library(node.context)
    library.open(SECRET, "diary", HUSH)
    library.open(OPEN, "diary")
    hidden, public = library.publish(SECRET, patch), library.publish(OPEN, patch)
    assert len({patch.id, hidden.id, public.id}) == 3
    assert hidden.body.epoch != public.body.epoch
    assert patch.body.place.seq == patch.body.place.epoch == 0  # what was sealed is in no feed
    for told in (hidden, public):
        assert (told.body.seq, told.body.prev) == (1, None)
        assert told.body.payload_root == patch.body.payload_root
        assert (told.body.card, told.body.receipt) == (patch.body.card, patch.body.receipt)
    assert given(library, hidden, OPEN) == given(library, public, SECRET) == (None, None)


def test_a_patch_that_is_published_again_takes_no_second_number(trained):
    node, patch = trained
    library = Library(node.context)
    library.open(SECRET, "diary", HUSH)
    told = library.publish(SECRET, patch)
    assert library.publish(SECRET, patch).id == told.id
    assert Library.publish(library, SECRET, told).id == told.id
    other = library.publish(SECRET, node.seal(patch.adapter, domain="diary", licence="MIT"))
    assert (other.body.seq, other.body.prev) == (2, told.id)
    assert node.status().shelf == {"own": 1}  # one payload, however often it was signed


def test_what_was_heard_in_a_secret_topic_is_not_passed_on_in_an_open_one(make, kit, author):
    _, patch = author
    node = make()
    library = Library(node.context)
    library.open(SECRET, "yes", HUSH)
    library.open(OPEN, "yes")
    notice = arrive(library, SECRET, patch, kit.NOW_S)
    assert (library.heads(SECRET), library.heads(OPEN)) == ([patch.id], [])
    assert given(library, patch, OPEN) == (None, None)
    library.close(SECRET)
    assert given(library, patch) == (None, None)
    assert not library.wants(OPEN, notice)  # somebody leaked it: that is no leave to do it, too
    assert library.heads(OPEN) == []
    with pytest.raises(UsageError, match="not heard here") as caught:
        library.publish(OPEN, patch)
    assert "Publish own patches" in caught.value.remedy
    library.open(SECRET, "yes", HUSH)
    assert library.publish(SECRET, patch) is patch  # told again where it belongs


def test_a_record_is_taken_only_in_a_topic_of_its_domain_that_is_joined(make, kit, author):
    _, patch = author
    library = Library(make().context)
    library.open(OPEN, "no")
    notice = read_envelope(patch.envelope, now_s=kit.NOW_S)
    assert not library.wants(OPEN, notice)
    assert not library.wants(SECRET, notice)


def test_an_own_patch_that_others_tell_of_is_not_offered_before_it_is_published(kit, author):
    owner, patch = author
    library = Library(owner.context)
    library.open(SECRET, "yes", HUSH)
    assert not library.wants(SECRET, read_envelope(patch.envelope, now_s=kit.NOW_S))
    assert library.heads(SECRET) == []


def test_only_an_own_patch_or_one_that_was_heard_here_can_be_published(make, kit, author, tmp_path):
    owner, patch = author
    stranger, restored = make("stranger"), make("restored")
    with pytest.raises(UsageError, match="not heard here"):
        Library(stranger.context).publish(OPEN, patch)
    patch.save(tmp_path / "saved")
    restored.context.identity = owner.context.identity
    library = Library(restored.context)
    library.open(OPEN, "yes")
    told = library.publish(OPEN, Patch.load(tmp_path / "saved", now_s=kit.NOW_S))
    assert library.payload(told.id, [OPEN]).is_file()


def test_a_new_feed_needs_no_root_key(trained):
    node, patch = trained
    node.context.identity = replace(node.context.identity, root_seed=None)
    library = Library(node.context)
    library.open(SECRET, "diary", HUSH)
    assert library.publish(SECRET, patch).body.seq == 1


def test_a_node_that_joins_and_publishes_nothing_gives_nothing_away(trained, make):
    node, patch = trained
    reader = make("reader")
    with (
        node.join("diary", fabric="memory") as theirs,
        reader.join("diary", fabric="memory") as ours,
    ):
        ours.sync(5.0)
        assert any(peer.verified for peer in ours.peers)
        assert reader.status().shelf == {}
        theirs.publish(patch)
    with node.join("diary", fabric="memory"), reader.join("diary", fabric="memory") as ours:
        for _ in range(10):
            ours.sync(2.0)
            if reader.status().shelf:
                break
        assert reader.status().shelf == {"quarantined": 1}
