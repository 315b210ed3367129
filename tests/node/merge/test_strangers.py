"""Strangers cost little: the trusted come first, a few others a merge, each once a state."""

from dataclasses import replace

import pytest

from hivelearn.node import reputation
from hivelearn.node.merge import strangers
from hivelearn.testing.hostile import forged, shelf_state


@pytest.fixture
def judge(make, kit):
    """A node that can judge "yes" and has no specialist, with two turns for strangers a merge."""
    node = make("judge", strangers_per_merge=2)
    kit.teach(node, "yes", "yes yes", 1, 24)
    return node


@pytest.fixture
def crowd(make, author):
    """Return a function to so many patches of one stranger who is not ``author``."""
    sybil = make("sybil")

    def get(n):
        return [forged(sybil, author[1], lambda b, k=k: b * (0.9 - 0.01 * k)) for k in range(n)]

    return get


def measured(report):
    return {j.patch for j in report.patches if j.verdict.code != strangers.WAITS.code}


def waits(report):
    return {j.patch for j in report.patches if j.verdict.code == strangers.WAITS.code}


def test_a_merge_measures_so_many_strangers_and_the_others_wait_unread(judge, kit, crowd):
    for patch in crowd(5):
        kit.send(patch, judge)
    report = judge.merge("yes")
    assert len(measured(report)) == 2
    assert len(waits(report)) == 3
    assert judge.status().shelf == {"sandboxed": 5}
    for entry in judge.context.store.shelf.list(state="sandboxed"):
        if entry.id.hex() in waits(report):
            assert "waits for its turn" in entry.verdict


def test_each_has_its_turn_once_and_the_verdict_stands_until_something_changes(judge, kit, crowd):
    for patch in crowd(3):
        kit.send(patch, judge)
    rounds = [measured(judge.merge("yes")) for _ in range(2)]
    assert [len(each) for each in rounds] == [2, 1]
    assert len(set().union(*rounds)) == 3
    still = judge.merge("yes")
    assert still.outcome == "nothing to judge"
    assert "judged already" in still.why
    assert still.patches == ()
    kit.teach(judge, "yes", "yes yes", 0, 25)  # one more is held out
    assert measured(judge.merge("yes")) == rounds[0]


def test_what_never_had_a_turn_comes_before_what_had_one(judge, kit, crowd):
    first, second, third = crowd(3)
    for patch in (first, second):
        kit.send(patch, judge)
    judge.merge("yes")
    kit.teach(judge, "yes", "yes yes", 0, 25)
    kit.send(third, judge)
    assert third.id.hex() in measured(judge.merge("yes"))


def test_trusted_authors_are_judged_whatever_the_crowd(judge, kit, author, crowd):
    owner, patch = author
    judge.vouch(owner.key)
    for each in (*crowd(5), patch):
        kit.send(each, judge)
    report = judge.merge("yes")
    assert report.outcome == "admitted"
    assert report.patches[-1].patch != patch.id.hex()
    assert shelf_state(judge, patch) == "admitted"
    assert len(measured(report)) == 3


def test_without_turns_for_strangers_none_of_them_is_measured(make, kit, author):
    node = make(strangers_per_merge=0)
    kit.send(author[1], node)
    report = node.merge("yes")
    assert (report.outcome, measured(report)) == ("nothing to judge", set())
    assert shelf_state(node, author[1]) == "sandboxed"


def test_an_honest_author_whom_nobody_knows_earns_trust_behind_a_crowd(judge, kit, author, crowd):
    owner, patch = author
    for each in crowd(6):
        kit.send(each, judge)
    for k in range(5):
        kit.send(kit.sign(owner, kit.distinct(patch.adapter, k)), judge)
    me = owner.context.identity.author
    assert me not in reputation.trusted(judge.context, "yes")
    rounds = 0
    while me not in reputation.trusted(judge.context, "yes"):
        rounds += 1
        assert rounds <= 6  # (6 + 5) patches, two a round
        judge.merge("yes")
    kit.send(patch, judge)
    assert judge.merge("yes").outcome == "admitted"


def test_the_state_is_the_holdouts_and_what_serves(make, kit, author):
    node = make()
    context = node.context

    def now():
        return strangers.state(context, context.store.generations.serving(context.base))

    seen = [now()]
    assert now() == seen[0]
    kit.teach(node, "yes", "yes yes", 16)  # to learn from, not to judge by
    assert now() == seen[0]
    kit.teach(node, "other", "yes yes", 0, 2)
    seen.append(now())
    node.train("yes", replace(kit.TINY, steps=2))
    seen.append(now())
    assert len(set(seen)) == 3
