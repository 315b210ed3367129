"""What is remembered of authors: it fades by rounds, and strangers wash off no name."""

import pytest

from hivelearn.node import reputation
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import open_context
from hivelearn.node.share.library import Library
from hivelearn.testing.hostile import forged
from hivelearn.trust.beta import Beta
from hivelearn.trust.standing import Standing


def key(number):
    return number.to_bytes(32, "big")


@pytest.fixture
def context(folder, tmp_path, kit):
    """A node that vouched for the author whose key is 1, and knows much good of them."""
    config = NodeConfig(home=tmp_path / "known")
    context = open_context(folder, config, kit.Stage().environment())
    with context.store.writing("know them"):
        context.store.reputation.vouch(key(1), "a friend", 0.0)
        reputation.remember(context, [Standing(key(1), Beta(good=50.0), successes=50)])
    return context


def door(context, authors, judgement="failure"):
    with context.store.writing("at the door"), context.store.together():
        for number in authors:
            reputation.count_fault(context, key(number), "yes", judgement)


def said(number, judgement="failure"):
    return {key(number): (key(number), judgement)}


def round_of(context, judged):
    with context.store.writing("round"):
        reputation.hear(context, judged)


def test_arrivals_age_nobody(context):
    before = reputation.standings(context)[key(1)]
    door(context, range(100, 200))
    assert reputation.standings(context)[key(1)] == before
    assert reputation.standings(context)[key(100)].evidence == Beta(bad=4.0)
    door(context, [100])
    assert reputation.standings(context)[key(100)].evidence == Beta(bad=8.0)


def test_rounds_of_strangers_age_only_themselves(context):
    before = reputation.standings(context)[key(1)]
    round_of(context, said(100, "success"))
    assert reputation.standings(context)[key(1)] == before
    round_of(context, {key(9): (key(1), "success")})
    after = reputation.standings(context)
    assert after[key(1)].evidence.good == pytest.approx(50.0 * 0.98 + 1)
    assert after[key(100)].evidence.good == pytest.approx(0.98)


def test_strangers_on_record_are_bounded_and_who_earned_something_stays(context):
    round_of(context, said(50, "success"))
    round_of(context, said(51, "harm"))
    door(context, range(1_000, 1_000 + reputation.STRANGERS_MAX + 50))
    found = reputation.standings(context)
    assert len(found) == reputation.STRANGERS_MAX + 1  # the friend is no stranger
    assert {key(1), key(50), key(51)} <= found.keys()


def test_two_harms_are_remembered_of_whom_the_owner_vouched_for(context):
    door(context, [1, 1], "harm")
    assert key(1) not in reputation.trusted(context)
    for number in range(1_000, 1_000 + reputation.STRANGERS_MAX):
        door(context, [number] * 2)
    assert reputation.standings(context)[key(1)].harms == 2
    assert key(1) not in reputation.trusted(context)


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


def test_one_set_of_trusted_authors_is_the_owner_the_vouched_and_the_proven(context):
    me = context.identity.author
    assert reputation.trusted(context) == {me, key(1)}
    with context.store.writing("prove"):
        reputation.remember(context, [Standing(key(2), successes=5)])
    assert reputation.trusted(context) == {me, key(1), key(2)}


def test_a_relays_faults_touch_nobodys_reputation(make, caplog):
    caplog.set_level("INFO")
    context = make().context
    Library(context).blame(key(3), "blob.hash")
    assert reputation.standings(context) == {}
    assert "relayed what does not verify: blob.hash" in caplog.text
