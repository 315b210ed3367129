"""A training that waits to go on is whole or told to be lost, and fills no disk."""

import pytest

from hivelearn.store import errors

BASE = b"b" * 32


def test_a_checkpoint_replaces_the_last_one_and_its_blob(store):
    with store.writing("train"):
        first = store.checkpoints.save(BASE, "roman", b"one", 1.0)
        assert store.checkpoints.load(BASE, "roman") == b"one"
        second = store.checkpoints.save(BASE, "roman", b"two", 2.0)
        assert store.checkpoints.save(BASE, "roman", b"two", 3.0) == second
        assert not store.blobs.has(first)
        assert store.checkpoints.load(BASE, "roman") == b"two"
        assert store.checkpoints.paused() == ((BASE, "roman", 3.0),)
        store.checkpoints.save(BASE, "iso-date", b"two", 4.0)
        store.checkpoints.clear(BASE, "roman")
        assert store.checkpoints.load(BASE, "roman") is None
        assert store.checkpoints.load(BASE, "iso-date") == b"two"  # one blob, two needs
        store.checkpoints.clear(BASE, "roman")


def test_a_checkpoint_that_the_disk_has_changed_is_not_resumed(store):
    with store.writing("train"):
        name = store.checkpoints.save(BASE, "roman", b"one", 1.0)
        store.blobs.path(name).write_bytes(b"two")
        with pytest.raises(errors.DamagedBlobError):
            store.checkpoints.load(BASE, "roman")
        store.checkpoints.save(BASE, "roman", b"one", 1.0)
        assert store.checkpoints.load(BASE, "roman") == b"one"
