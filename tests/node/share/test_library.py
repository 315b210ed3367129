"""The door: what is wanted, what is refused before the shelf, and whose fault that is."""

from dataclasses import replace

import pytest

from hivelearn import codec
from hivelearn.errors import PeerError
from hivelearn.node import reputation
from hivelearn.node.share.library import Library
from hivelearn.patch import chunks
from hivelearn.patch.notice import SIGNATURE_TAG, read_envelope
from hivelearn.testing.hostile import forged
from hivelearn.testing.models import small_model


def test_a_patch_for_another_base_or_topic_is_never_wanted(make, kit, author, tmp_path):
    _, patch = author
    node = make("other", model=small_model(tmp_path / "base", seed=9))
    assert not kit.send(patch, node)
    assert node.status().shelf == {}


def test_an_own_patch_that_comes_back_is_not_wanted(kit, author):
    owner, patch = author
    assert not kit.send(patch, owner)


def test_strangers_together_have_so_many_places(make, kit, author):
    owner, patch = author
    node = make(sandbox_max=1)
    assert kit.send(patch, node)
    second = forged(owner, patch, lambda b: b * 0.5)
    assert not kit.send(second, node)
    node.vouch(owner.key)
    assert kit.send(second, node)


def test_a_patch_larger_than_the_node_takes_is_not_wanted(make, kit, author):
    assert not kit.send(author[1], make(patch_max_bytes=1000))


def test_a_payload_that_its_hash_does_not_fit_is_refused_at_the_door(make, kit, author):
    _, patch = author
    node = make()
    node.context.home.make()
    library = Library(node.context)
    notice = read_envelope(patch.envelope, now_s=kit.NOW_S)
    library.partial(notice).write_bytes(b"x" * patch.body.payload_bytes)
    with pytest.raises(PeerError) as caught:
        library.accept(notice, library.partial(notice))
    assert caught.value.fault == "relay"
    assert not library.partial(notice).exists()
    assert reputation.standings(node.context, "yes") == {}  # the author did not send these bytes
    assert library.refused


def test_a_signed_payload_that_is_no_lora_blames_its_author_once_and_is_not_fetched_again(
    make, kit, author
):
    owner, patch = author
    junk = b"x" * 1000
    body = replace(
        patch.body,
        seq=1_000,
        payload_root=chunks.root(chunks.leaves_of(junk)),
        payload_bytes=len(junk),
    )
    raw = body.to_bytes()
    signature = owner.context.identity.sign(SIGNATURE_TAG + raw)
    notice = read_envelope(codec.encode({1: raw, 2: signature}), now_s=kit.NOW_S)
    node = make()
    library = Library(node.context)
    library.open(bytes(32), "yes")
    assert library.wants(bytes(32), notice)
    for _ in range(2):  # a second copy that was on its way
        library.partial(notice).write_bytes(junk)
        with pytest.raises(PeerError) as caught:
            library.accept(notice, library.partial(notice))
        assert caught.value.fault == "author"
    assert not library.wants(bytes(32), notice)
    assert node.status().shelf == {"refused": 1}
    standing = reputation.standings(node.context, "yes")[owner.context.identity.author]
    assert standing.evidence.bad == 4
