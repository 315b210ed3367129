"""Strangers have so many places and so many bytes, whatever state their patches are in."""

from dataclasses import replace

import pytest

from hivelearn import codec
from hivelearn.node import reputation
from hivelearn.node.share.library import Library, NoRoomError
from hivelearn.node.share.quota import PROMISE_S
from hivelearn.patch.notice import SIGNATURE_TAG, read_envelope
from hivelearn.testing.hostile import forged


def library_of(node):
    library = Library(node.context)
    library.open(bytes(32), "yes")
    return library


def deliver(library, notice, patch):
    library.partial(notice).write_bytes(patch.adapter.to_bytes())
    library.accept(notice, library.partial(notice))


def again(owner, patch, seq, now_s):
    """Return the notice of the same patch under another number."""
    body = replace(patch.body, seq=seq)
    raw = body.to_bytes()
    signature = owner.context.identity.sign(SIGNATURE_TAG + raw)
    return read_envelope(codec.encode({1: raw, 2: signature}), now_s=now_s)


@pytest.fixture
def batch(author, kit):
    """Five patches of one author with their notices."""
    owner, patch = author
    patches = [forged(owner, patch, lambda b, k=k: b * (0.5 + 0.01 * k)) for k in range(5)]
    return [(read_envelope(p.envelope, now_s=kit.NOW_S), p) for p in patches]


def test_a_promise_takes_a_place_before_its_payload_comes(make, batch):
    library = library_of(make(sandbox_max=2))
    wanted = [library.wants(bytes(32), notice) for notice, _ in batch]
    assert wanted == [True, True, False, False, False]
    assert library.wants(bytes(32), batch[0][0])  # asked again, it is the same place
    deliver(library, *batch[0])
    assert not library.wants(bytes(32), batch[2][0])


def test_patches_that_wait_take_places(make, kit, author):
    owner, patch = author
    node = make(sandbox_max=3)
    library = library_of(node)
    for seq in range(1_000, 1_005):
        notice = again(owner, patch, seq, kit.NOW_S)
        if library.wants(bytes(32), notice):
            deliver(library, notice, patch)
    assert node.status().shelf == {"quarantined": 3}
    assert not library.wants(bytes(32), read_envelope(patch.envelope, now_s=kit.NOW_S))
    node.vouch(owner.key)
    assert library.wants(bytes(32), read_envelope(patch.envelope, now_s=kit.NOW_S))


def test_what_finds_no_room_at_the_door_is_refused_and_nobody_is_blamed(make, batch):
    node = make(sandbox_max=1)
    first, second = library_of(node), library_of(node)  # neither knows what the other awaits
    assert first.wants(bytes(32), batch[0][0])
    assert second.wants(bytes(32), batch[1][0])
    deliver(first, *batch[0])
    with pytest.raises(NoRoomError) as caught:
        deliver(second, *batch[1])
    assert caught.value.fault == "nobody"
    assert node.status().shelf == {"quarantined": 1}
    assert list(node.context.home.partial.iterdir()) == []
    assert reputation.standings(node.context, "yes") == {}


def test_bytes_are_bounded_too_promised_half_fetched_and_kept(make, author, batch):
    size = author[1].body.payload_bytes
    node = make(sandbox_max_bytes=3 * size, sandbox_per_relay=64)
    node.context.home.make()
    library = library_of(node)
    lies = node.context.home.partial / ("ab" * 32)
    lies.write_bytes(b"x" * size)  # left by another run
    assert [library.wants(bytes(32), notice) for notice, _ in batch[:2]] == [True, True]
    assert lies.exists()
    assert library.wants(bytes(32), batch[2][0])
    assert not lies.exists()  # nobody was asked for the rest of it, so it made way
    for notice, patch in batch[:2]:
        deliver(library, notice, patch)
    assert not library.wants(bytes(32), batch[3][0])


def test_one_relay_promises_no_more_than_a_share_of_the_bytes(make, author, batch):
    size = author[1].body.payload_bytes
    library = library_of(make(sandbox_max_bytes=8 * size))  # of which a relay has a quarter
    crowd, alone = b"c" * 32, b"a" * 32
    told = [library.wants(bytes(32), notice, crowd) for notice, _ in batch[:4]]
    assert told == [True, True, False, False]
    assert library.wants(bytes(32), batch[4][0], alone)


def test_a_promise_made_again_and_again_frees_its_place_all_the_same(make, kit, batch):
    stage = kit.Stage()
    library = library_of(make(stage=stage, sandbox_max=1))
    for _ in range(3):
        assert library.wants(bytes(32), batch[0][0])
        stage.sleep(PROMISE_S / 3)
    assert library.wants(bytes(32), batch[1][0])


def test_a_promise_that_nobody_keeps_frees_its_place(make, kit, batch):
    stage = kit.Stage()
    library = library_of(make(stage=stage, sandbox_max=1))
    assert library.wants(bytes(32), batch[0][0])
    assert not library.wants(bytes(32), batch[1][0])
    stage.sleep(PROMISE_S)
    assert library.wants(bytes(32), batch[1][0])


def test_a_refused_payload_leaves_the_disk_at_once(make, kit, author):
    owner, patch = author
    node = make()
    bad = forged(owner, patch, lambda b: b * float("nan"))
    kit.send(bad, node)
    path = node.context.blobs.path(bad.body.payload_root.hex())
    assert path.is_file()
    node.merge("yes")
    assert not path.exists()
