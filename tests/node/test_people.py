"""What is remembered of authors: it fades by rounds, and strangers wash off no name."""

from dataclasses import replace

import pytest

from hivelearn.node import people
from hivelearn.node.library import Library
from hivelearn.testing.hostile import forged
from hivelearn.trust.beta import Beta
from hivelearn.trust.standing import Standing


def key(number):
    return number.to_bytes(32, "big")


@pytest.fixture
def node(make):
    """A node that vouched for the author whose key is 1, and knows much good of them."""
    node = make()
    bench = node._bench
    with bench.store.writing("know them"):
        bench.store.notes.vouch(key(1), "a friend", 0.0)
        people._keep(bench, {key(1): Standing(key(1), Beta(good=50.0), successes=50)})
    return node


def door(bench, authors, judgement="failure"):
    with bench.store.writing("at the door"), bench.store.together():
        for number in authors:
            people.at_the_door(bench, key(number), "yes", judgement)


def said(number, judgement="failure"):
    return {key(number): (key(number), judgement)}


def round_of(bench, judged):
    with bench.store.writing("round"):
        people.after_merge(bench, judged)


def test_arrivals_age_nobody(node):
    bench = node._bench
    before = people.standings(bench)[key(1)]
    door(bench, range(100, 200))
    assert people.standings(bench)[key(1)] == before
    assert people.standings(bench)[key(100)].evidence == Beta(bad=4.0)
    door(bench, [100])
    assert people.standings(bench)[key(100)].evidence == Beta(bad=8.0)


def test_rounds_of_strangers_age_only_themselves(node):
    bench = node._bench
    before = people.standings(bench)[key(1)]
    round_of(bench, said(100, "success"))
    assert people.standings(bench)[key(1)] == before
    round_of(bench, {key(9): (key(1), "success")})
    after = people.standings(bench)
    assert after[key(1)].evidence.good == pytest.approx(50.0 * 0.98 + 1)
    assert after[key(100)].evidence.good == pytest.approx(0.98)


def test_strangers_on_record_are_bounded_and_who_earned_something_stays(node):
    bench = node._bench
    round_of(bench, said(50, "success"))
    round_of(bench, said(51, "harm"))
    door(bench, range(1_000, 1_000 + people.STRANGERS_MAX + 50))
    found = people.standings(bench)
    assert len(found) == people.STRANGERS_MAX + 1  # the friend is no stranger
    assert {key(1), key(50), key(51)} <= found.keys()


def test_two_harms_are_remembered_of_whom_the_owner_vouched_for(node):
    bench = node._bench
    door(bench, [1, 1], "harm")
    assert key(1) not in people.trusted(bench)
    for number in range(1_000, 1_000 + people.STRANGERS_MAX):
        door(bench, [number] * 2)
    assert people.standings(bench)[key(1)].harms == 2
    assert key(1) not in people.trusted(bench)


def test_faults_at_the_door_are_heard_by_the_next_merge_and_crowds_hide_none(node):
    bench = node._bench
    door(bench, [1])
    door(bench, range(1_000, 1_000 + people.STRANGERS_MAX + 50))
    assert key(1) in people.at_fault(bench, "yes")
    assert len(people.at_fault(bench, "yes")) == people.STRANGERS_MAX + 1
    assert people.at_fault(bench, "other") == frozenset()
    with bench.store.writing("forgive"):
        people.forgive(bench, "other")
        assert key(1) in people.at_fault(bench, "yes")
        people.forgive(bench, "yes")
    assert people.at_fault(bench, "yes") == frozenset()


def test_what_was_said_of_a_patch_is_forgotten_with_the_patch(make, kit, author):
    owner, patch = author
    node = make()
    bench = node._bench
    bad = forged(owner, patch, lambda b: b * float("nan"))
    kit.send(bad, node)
    round_of(bench, said(7))  # of no patch that is here
    node.merge("yes")
    assert set(bench.store.notes.setting("heard")) == {bad.id.hex()}


def test_one_set_of_trusted_authors_is_the_owner_the_vouched_and_the_proven(node):
    bench = node._bench
    me = bench.identity.author
    assert people.trusted(bench) == {me, key(1)}
    with bench.store.writing("prove"):
        proven = replace(Standing(key(2)), successes=5)
        people._keep(bench, people.standings(bench) | {key(2): proven})
    assert people.trusted(bench) == {me, key(1), key(2)}


def test_a_relays_faults_and_refusals_fill_no_memory(make):
    from hivelearn.node.library import BLAMED_MAX

    library = Library(make()._bench)
    for number in range(BLAMED_MAX + 10):
        library.blame(key(number), "blob.hash")
    library.blame(key(0), "blob.hash")
    assert len(library.blamed) == BLAMED_MAX
    assert library.blamed[key(0), "blob.hash"] == 2
