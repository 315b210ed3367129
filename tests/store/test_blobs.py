"""Blobs: whole or absent, named by content, swept when nobody needs them."""

import hashlib
import os

import pytest

from hivelearn.files import DiskError
from hivelearn.store.blobs import ORPHAN_AGE_S, PARTIAL_AGE_S
from hivelearn.store.errors import MissingBlobError

NOW = 1_000_000.0


def age(path, seconds):
    os.utime(path, (NOW - seconds, NOW - seconds))


def test_a_blob_is_named_by_its_content_or_by_the_caller(store):
    name = store.blobs.put(b"data")
    assert name == hashlib.sha256(b"data").hexdigest()
    root = "ab" * 32
    assert store.blobs.put(b"data", root) == root
    assert store.blobs.read(name) == store.blobs.read(root) == b"data"
    assert store.blobs.has(root)


def test_what_is_there_is_never_written_again(store):
    name = store.blobs.put(b"first", "ab" * 32)
    path = store.blobs.path(name)
    before = path.stat().st_ino
    age(path, 9999)
    store.blobs.put(b"first", name)
    assert path.stat().st_ino == before
    assert store.blobs.sweep(set(), path.stat().st_mtime) == ()  # young again


@pytest.mark.parametrize("changed", [b"f\0rst", b"", b"first and more"])
def test_what_the_disk_has_changed_is_mended_by_putting_it_again(store, changed):
    name = store.blobs.put(b"first", "ab" * 32)
    store.blobs.path(name).write_bytes(changed)
    assert store.blobs.put(b"first", name) == name
    assert store.blobs.read(name) == b"first"


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "AB" * 32, "ab" * 31, "ab" * 32 + "\n", "ab/" + "c" * 61]
)
def test_a_name_that_is_no_id_reaches_no_file(store, name):
    for use in (store.blobs.path, store.blobs.read, store.blobs.partial, store.blobs.has):
        with pytest.raises(ValueError, match="blob name"):
            use(name)


def test_a_partial_becomes_a_blob_when_it_is_adopted(store):
    name = hashlib.sha256(b"data").hexdigest()
    partial = store.blobs.partial(name)
    partial.write_bytes(b"data")
    assert not store.blobs.has(name)
    store.blobs.adopt(partial, name)
    assert store.blobs.read(name) == b"data"
    assert not partial.exists()
    with pytest.raises(DiskError):
        store.blobs.adopt(partial, name)


def test_a_missing_blob_has_its_own_error(store):
    with pytest.raises(MissingBlobError):
        store.blobs.read("ab" * 32)
    store.blobs.delete("ab" * 32)  # absent is fine


def test_the_sweep_takes_old_orphans_and_nothing_else(store):
    needed, orphan, young = (store.blobs.put(data) for data in (b"needed", b"orphan", b"young"))
    old, fresh = store.blobs.partial("ab" * 32), store.blobs.partial("cd" * 32)
    torn = store.blobs.path(needed).with_name("torn.tmp")
    for path in (old, fresh, torn):
        path.touch()
    for path, seconds in [
        (store.blobs.path(needed), ORPHAN_AGE_S * 9),
        (store.blobs.path(orphan), ORPHAN_AGE_S + 1),
        (store.blobs.path(young), ORPHAN_AGE_S - 1),
        (torn, ORPHAN_AGE_S + 1),
        (old, PARTIAL_AGE_S + 1),
        (fresh, PARTIAL_AGE_S - 1),
    ]:
        age(path, seconds)
    gone = store.blobs.sweep({needed}, NOW)
    assert gone == tuple(sorted([orphan, "torn.tmp", old.name]))
    assert store.blobs.has(needed)
    assert store.blobs.has(young)
    assert fresh.exists()


def test_what_cannot_be_deleted_is_left_for_the_next_sweep(store):
    stuck = store.blobs.path("ab" * 32)
    stuck.mkdir(parents=True)
    age(stuck, ORPHAN_AGE_S + 1)
    assert store.blobs.sweep(set(), NOW) == ()


def test_a_sweep_that_cannot_look_says_where(store):
    folder = store.home.path / "partial"
    folder.rmdir()
    folder.symlink_to(folder)  # a link to itself leads nowhere
    with pytest.raises(DiskError, match="partial"):
        store.blobs.sweep(set(), NOW)
