"""What waits to go on is whole or told to be lost, and fills no disk."""

import pytest

from hivelearn.store import errors
from hivelearn.store.pauses import Candidate

BASE = b"b" * 32


def test_a_checkpoint_replaces_the_last_one_and_its_blob(store):
    with store.writing("train"):
        first = store.pauses.save(BASE, "roman", b"one", 1.0)
        assert store.pauses.load(BASE, "roman") == b"one"
        second = store.pauses.save(BASE, "roman", b"two", 2.0)
        assert store.pauses.save(BASE, "roman", b"two", 3.0) == second
        assert not store.blobs.has(first)
        assert store.pauses.load(BASE, "roman") == b"two"
        assert store.pauses.paused() == ((BASE, "roman", 3.0),)
        store.pauses.save(BASE, "iso-date", b"two", 4.0)
        store.pauses.clear(BASE, "roman")
        assert store.pauses.load(BASE, "roman") is None
        assert store.pauses.load(BASE, "iso-date") == b"two"  # one blob, two needs
        store.pauses.clear(BASE, "roman")


def test_a_checkpoint_that_the_disk_has_changed_is_not_resumed(store):
    with store.writing("train"):
        name = store.pauses.save(BASE, "roman", b"one", 1.0)
        store.blobs.path(name).write_bytes(b"two")
        with pytest.raises(errors.DamagedBlobError):
            store.pauses.load(BASE, "roman")
        store.pauses.save(BASE, "roman", b"one", 1.0)
        assert store.pauses.load(BASE, "roman") == b"one"


def test_candidates_wait_for_a_decision(store):
    given = Candidate(BASE, "roman", "ab" * 32, '{"gain": 0.01}', 1.0)
    with store.writing("merge"):
        first, second = store.pauses.leave(given), store.pauses.leave(given)
        assert [c.number for c in store.pauses.candidates(BASE, "roman")] == [first, second]
        store.pauses.drop(first)
        assert store.pauses.leave(given) not in (first, second)
    assert store.pauses.candidates(BASE, "roman")[0].detail == given.detail
    assert store.pauses.candidates(BASE, "hex") == ()
