"""One hand makes a batch: a fault in it lets the rest of it wait a round."""

from dataclasses import replace
from itertools import count

import pytest

from hivelearn import codec
from hivelearn.errors import PeerError
from hivelearn.inference.router import Claim
from hivelearn.node import measure, own_records, reputation
from hivelearn.node.share.library import Library
from hivelearn.patch import chunks
from hivelearn.patch.manifest import RouterCard
from hivelearn.patch.notice import SIGNATURE_TAG, read_envelope
from hivelearn.testing.hostile import changed, forged, shelf_state


@pytest.fixture
def node(make, author):
    """A node that vouched for the author."""
    node = make()
    node.vouch(author[0].key)
    return node


def codes(report):
    return {judged.patch: judged.verdict.code for judged in report.patches}


def test_a_fault_in_the_batch_lets_the_rest_wait_a_round(node, kit, author):
    owner, patch = author
    bad = forged(owner, patch, lambda b: b * float("nan"))
    for each in (patch, bad):
        kit.send(each, node)
    report = node.merge("yes")
    assert report.outcome == "nothing to judge"
    assert codes(report) == {patch.id.hex(): "trust.fault", bad.id.hex(): "num.nonfinite"}
    assert (shelf_state(node, patch), shelf_state(node, bad)) == ("sandboxed", "refused")
    assert node.merge("yes").outcome == "admitted"  # vouched for, and no further fault


def test_a_fault_at_the_door_counts_as_one_in_the_batch(node, kit, author):
    owner, patch = author
    junk = b"x" * 1000
    root = chunks.root(chunks.leaves_of(junk))
    body = replace(patch.body, seq=1_000, payload_root=root, payload_bytes=len(junk))
    raw = body.to_bytes()
    signed = codec.encode({1: raw, 2: owner.context.identity.sign(SIGNATURE_TAG + raw)})
    notice = read_envelope(signed, now_s=kit.NOW_S)
    kit.send(patch, node)
    library = Library(node.context)
    library.partial(notice).write_bytes(junk)
    with pytest.raises(PeerError):
        library.accept(notice, library.partial(notice))
    assert codes(node.merge("yes")) == {patch.id.hex(): "trust.fault"}
    assert node.merge("yes").outcome == "admitted"


def test_a_patch_that_harms_at_home_lets_its_companions_wait(kit, author, beginner):
    owner, patch = author
    node = beginner()
    node.vouch(owner.key)
    harmful = forged(owner, patch, lambda b: -0.25 * b)
    for each in (patch, harmful):
        kit.send(each, node)
    report = node.merge("yes")
    assert report.outcome == "no lift"
    assert codes(report) == {patch.id.hex(): "trust.fault", harmful.id.hex(): "fit.no-weight"}
    assert reputation.standings(node.context, "yes")[owner.context.identity.author].harms == 1


def test_what_was_let_in_before_its_author_was_found_out_leaves_again(
    node, kit, author, monkeypatch
):
    owner, patch = author

    # A receiver that grants what is claimed: the harm is then seen through the router only.
    def all_of_it(_context, _adapter, claimed, _domain):
        return claimed and Claim(999.0, -999.0)

    monkeypatch.setattr(measure, "granted", all_of_it)
    wreck = changed(patch, lambda b: 2.5 * b)  # costs on general texts
    with owner.context.store.writing("forge"):
        greedy = own_records.sign(owner.context, wreck, "strange", card=RouterCard(0.0, 999.0))
        signed = (
            own_records.sign(owner.context, patch.adapter, "strange", licence=f"LicenseRef-{n}")
            for n in count()
        )
        shy = next(each for each in signed if each.id < greedy.id)  # the harmless one comes first
    for each in (shy, greedy):
        kit.send(each, node)
    report = node.merge("strange")
    assert codes(report) == {shy.id.hex(): "trust.fault", greedy.id.hex(): "fit.harm"}
    assert report.outcome == "no lift"
    assert node.context.generations.serving(node.base) == ()


def test_a_patch_that_does_nothing_is_refused_and_harms_no_name(node, kit, author):
    owner, patch = author
    nothing = forged(owner, patch, lambda b: b * 0)
    for each in (patch, nothing):
        kit.send(each, node)
    report = node.merge("yes")
    assert codes(report) == {patch.id.hex(): "fit.harmless", nothing.id.hex(): "num.zero"}
    assert report.outcome == "admitted"
    assert reputation.standings(node.context, "yes") == {}
