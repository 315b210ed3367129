"""What leaves a node: what was published, and what was heard in the very topic. Nothing else."""

import pytest

from hivelearn.errors import UsageError
from hivelearn.node.share.library import Library
from hivelearn.patch.envelope import Patch
from hivelearn.patch.notice import read_envelope

OPEN, SECRET = b"o" * 32, b"s" * 32


@pytest.fixture
def trained(make, kit):
    """A node with a patch of its own that nobody has published."""
    node = make("diary")
    kit.teach(node, "diary", "yes yes")
    return node, node.train("diary")


def given(library, patch):
    return library.envelope(patch), library.payload(patch)


def arrive(library, patch, now_s):
    notice = read_envelope(patch.envelope, now_s=now_s)
    assert library.wants(notice)
    library.partial(notice).write_bytes(patch.adapter.to_bytes())
    library.accept(notice, library.partial(notice))
    return notice


def test_what_was_never_published_is_offered_to_nobody(trained):
    node, patch = trained
    library = Library(node.context)
    library.open(OPEN, "diary")
    assert library.heads(OPEN) == []
    assert given(library, patch.id) == (None, None)


def test_what_was_published_is_offered_in_that_topic_at_every_later_join(trained):
    node, patch = trained
    library = Library(node.context)
    library.open(SECRET, "diary")
    library.publish(SECRET, patch)
    later = Library(node.context)
    later.open(OPEN, "diary")
    assert later.heads(OPEN) == later.heads(SECRET) == []  # the secret topic is not joined now
    assert given(later, patch.id) == (None, None)
    later.open(SECRET, "diary")
    assert later.heads(SECRET) == [patch.id]
    assert later.heads(OPEN) == []
    assert given(later, patch.id)[0] == patch.envelope
    later.close(SECRET)
    assert later.heads(SECRET) == []
    assert given(later, patch.id) == (None, None)


def test_what_was_heard_in_a_secret_topic_is_not_passed_on_in_an_open_one(make, kit, author):
    _, patch = author
    node = make()
    library = Library(node.context)
    library.open(SECRET, "yes")
    with node.context.store.writing("receive"):
        notice = arrive(library, patch, kit.NOW_S)
    assert library.heads(SECRET) == [patch.id]
    library.close(SECRET)
    library.open(OPEN, "yes")
    assert library.heads(OPEN) == []
    assert given(library, patch.id) == (None, None)
    assert not library.wants(notice)  # now it is heard in the open one, too
    assert library.heads(OPEN) == [patch.id]


def test_in_doubt_in_which_of_two_topics_it_was_heard_it_is_passed_on_in_neither(make, kit, author):
    _, patch = author
    node = make()
    library = Library(node.context)
    library.open(SECRET, "yes")
    library.open(OPEN, "yes")
    arrive(library, patch, kit.NOW_S)
    assert library.heads(SECRET) == library.heads(OPEN) == []


def test_an_own_patch_that_others_tell_of_is_not_offered_before_it_is_published(kit, author):
    owner, patch = author
    library = Library(owner.context)
    library.open(SECRET, "yes")
    assert not library.wants(read_envelope(patch.envelope, now_s=kit.NOW_S))
    assert library.heads(SECRET) == []


def test_only_an_own_patch_or_one_that_is_here_can_be_published(make, kit, author, tmp_path):
    owner, patch = author
    stranger, restored = make("stranger"), make("restored")
    with pytest.raises(UsageError, match="not on this shelf"):
        Library(stranger.context).publish(OPEN, patch)
    patch.save(tmp_path / "saved")
    restored.context.identity = owner.context.identity
    library = Library(restored.context)
    library.open(OPEN, "yes")
    library.publish(OPEN, Patch.load(tmp_path / "saved", now_s=kit.NOW_S))
    assert library.payload(patch.id).is_file()


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
