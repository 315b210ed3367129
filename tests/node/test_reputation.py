"""What is remembered of authors: it fades by rounds, and strangers wash off no name."""

import pytest

from hivelearn.errors import UsageError
from hivelearn.identity import full_name
from hivelearn.node import own_records, reputation
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import open_context
from hivelearn.node.share.library import Library
from hivelearn.testing.hostile import changed, forged
from hivelearn.trust.beta import Beta


def key(number):
    return number.to_bytes(32, "big")


@pytest.fixture
def context(folder, tmp_path, kit):
    """A node that vouched for the author whose key is 1, and knows some good of them."""
    config = NodeConfig(home=tmp_path / "known")
    context = open_context(folder, config, kit.Stage().environment())
    with context.store.writing("know them"):
        context.store.reputation.vouch(key(1), "a friend", 0.0)
    kit.prove(context, key(1), "yes", 9)
    return context


def door(context, authors, judgement="failure"):
    with context.store.writing("at the door"), context.store.together():
        for number in authors:
            reputation.count_fault(context, key(number), "yes", judgement)


def said(number, judgement="failure"):
    return {key(number): (key(number), judgement)}


def round_of(context, judged):
    with context.store.writing("round"):
        reputation.hear(context, "yes", judged)


def test_arrivals_age_nobody(context):
    before = reputation.standings(context, "yes")[key(1)]
    door(context, range(100, 200))
    assert reputation.standings(context, "yes")[key(1)] == before
    assert reputation.standings(context, "yes")[key(100)].evidence == Beta(bad=4.0)
    door(context, [100])
    assert reputation.standings(context, "yes")[key(100)].evidence == Beta(bad=8.0)


def test_rounds_of_strangers_age_only_themselves(context, kit):
    kit.prove(context, key(100), "yes", 1)
    before = reputation.standings(context, "yes")[key(1)]
    round_of(context, said(100))
    assert reputation.standings(context, "yes")[key(1)] == before
    assert reputation.standings(context, "yes")[key(100)].evidence.good == pytest.approx(0.98)
    round_of(context, {key(9): (key(1), "failure")})
    after = reputation.standings(context, "yes")
    assert after[key(1)].evidence.good == pytest.approx(9.0 * 0.98)
    assert after[key(100)].evidence.good == pytest.approx(0.98**2)


def test_strangers_on_record_are_bounded_and_who_did_most_harm_stays(context, kit):
    kit.prove(context, key(50), "yes", 1)
    round_of(context, said(51, "harm"))
    door(context, range(1_000, 1_000 + reputation.STRANGERS_MAX + 50))
    found = reputation.standings(context, "yes")
    assert len(found) == reputation.STRANGERS_MAX + 2  # what speaks for the two rests here
    assert {key(1), key(50), key(51)} <= found.keys()


def test_what_speaks_for_an_author_holds_in_its_domain_what_speaks_against_everywhere(context, kit):
    kit.prove(context, key(2), "yes")
    assert key(2) in reputation.trusted(context, "yes")
    assert key(2) not in reputation.trusted(context, "no")
    assert key(2) in reputation.trusted_somewhere(context)
    kit.prove(context, key(3), "yes", 4)
    kit.prove(context, key(3), "no", 4)
    assert key(3) not in reputation.trusted_somewhere(context)
    with context.store.writing("no"):
        reputation.hear(context, "no", said(2, "harm"))
    assert reputation.standings(context, "yes")[key(2)].successes == 0
    assert reputation.standings(context, "yes")[key(2)].harms == 1
    assert key(2) not in reputation.trusted(context, "yes")


def test_two_harms_are_remembered_of_whom_the_owner_vouched_for(context):
    door(context, [1, 1], "harm")
    assert key(1) not in reputation.trusted(context, "yes")
    for number in range(1_000, 1_000 + reputation.STRANGERS_MAX):
        door(context, [number] * 2)
    assert reputation.standings(context, "yes")[key(1)].harms == 2
    assert key(1) not in reputation.trusted(context, "yes")


def test_faults_at_the_door_are_heard_by_the_next_merge_and_crowds_hide_none(context):
    door(context, [1])
    door(context, range(1_000, 1_000 + reputation.STRANGERS_MAX + 50))
    assert key(1) in reputation.at_fault(context, "yes")
    assert len(reputation.at_fault(context, "yes")) == reputation.STRANGERS_MAX + 1
    assert reputation.at_fault(context, "other") == frozenset()
    with context.store.writing("forgive"):
        reputation.forgive(context, "other")
        assert key(1) in reputation.at_fault(context, "yes")
        reputation.forgive(context, "yes")
    assert reputation.at_fault(context, "yes") == frozenset()


def test_what_was_said_of_a_patch_is_forgotten_with_the_patch(make, kit, author):
    owner, patch = author
    node = make()
    context = node.context
    bad = forged(owner, patch, lambda b: b * float("nan"))
    kit.send(bad, node)
    round_of(context, said(7))  # of no patch that is here
    node.merge("yes")
    assert set(context.store.reputation.heard()) == {bad.id}


def test_one_set_of_trusted_authors_is_the_owner_the_vouched_and_the_proven(context, kit):
    me = context.identity.author
    assert reputation.trusted(context, "yes") == {me, key(1)}
    kit.prove(context, key(2), "yes")
    assert reputation.trusted(context, "yes") == {me, key(1), key(2)}


def test_a_device_is_nobody_to_vouch_for_and_the_error_says_who_is(make, kit, author):
    owner, patch = author
    node = make()
    kit.send(patch, node)
    for device, remedy in (
        (owner.context.identity.device, owner.key),
        (node.context.identity.device, node.key),
    ):
        with pytest.raises(UsageError, match="the key of a device") as caught:
            node.vouch(full_name(device))
        assert remedy in caught.value.remedy
    with pytest.raises(UsageError, match="the key of a device") as caught:
        reputation.vouch(node.context, key(9), "", met=[key(9)])
    assert "Ask its owner" in caught.value.remedy
    node.vouch(owner.key)


def test_a_relays_faults_touch_nobodys_reputation(make, caplog):
    caplog.set_level("INFO")
    context = make().context
    Library(context).blame(key(3), "blob.hash")
    assert reputation.standings(context, "yes") == {}
    assert "relayed what does not verify: blob.hash" in caplog.text


def test_one_harmful_update_in_two_records_is_one_harm(make, kit, author):
    """As it is signed for each swarm, and again after a restored backup."""
    _, learnt = author
    owner, friend = make("owner"), make("friend", base_texts=2)
    kit.teach(friend, "yes", "yes yes", 1, 24)
    friend.vouch(owner.key)
    poor = changed(learnt, lambda b: -0.25 * b)
    me = owner.context.identity.author
    for number in range(2):
        with owner.context.store.writing("sign"):
            record = own_records.sign(owner.context, poor, "yes", licence=str(number))
        assert kit.send(record, friend)
        friend.merge("yes")
        assert reputation.standings(friend.context, "yes")[me].harms == 1
    assert me in reputation.trusted(friend.context, "yes")
