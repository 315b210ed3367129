"""Evidence counts once: nobody is believed for another's update, nor twice for one.

`tests/gate/test_likeness.py` has the dresses in which a copy is known again; here is
what follows from that for its author, through whole rounds.
"""

import pytest
import torch

from hivelearn.node import own_records, reputation
from hivelearn.patch.adapter import Adapter
from hivelearn.testing.hostile import changed, shelf_state


@pytest.fixture
def judge(make, kit):
    """A node that can judge "yes", with turns for all strangers of a test."""
    node = make("judge", strangers_per_merge=16, base_texts=2)
    kit.teach(node, "yes", "yes yes", 1, 24)
    return node


@pytest.fixture
def copier(make):
    return make("copier")


def sum_of(one, other, share):
    factors = {
        m: (
            torch.cat([one.factors[m][0], other.factors[m][0]]),
            torch.cat([share * one.factors[m][1], (1 - share) * other.factors[m][1]], 1),
        )
        for m in one.factors
    }
    return Adapter(factors, 2 * one.rank, one.alpha * 2, one.base)


def standing(judge, node):
    return {row.key: row.standing for row in judge.trust.rows}.get(node.key, "unknown")


def proofs(judge, node):
    """Return how often a node's work was counted for it in "yes"."""
    found = reputation.standings(judge.context, "yes")
    me = node.context.identity.author
    return found[me].successes if me in found else 0


def believed(judge, kit, node, patch):
    """Return whether a patch of ``node`` about another subject is let in."""
    kit.send(kit.sign(node, patch.adapter, "other"), judge)
    return judge.merge("other").outcome == "admitted"


DRESSES = {
    "the payload itself": lambda one, other, k: one,
    "sums of two": lambda one, other, k: sum_of(one, other, 0.3 + 0.1 * k),
}


def scaled(adapter, by):
    return Adapter(
        {m: (a, b * by) for m, (a, b) in adapter.factors.items()},
        adapter.rank,
        adapter.alpha,
        adapter.base,
    )


@pytest.mark.parametrize("dress", DRESSES.values(), ids=DRESSES.keys())
def test_five_copies_of_a_friends_updates_prove_nobody(judge, kit, author, copier, dress):
    owner, patch = author
    judge.vouch(owner.key)
    other = kit.sign(owner, kit.distinct(patch.adapter, 7, share=1.0))
    for each in (patch, other):
        kit.send(each, judge)
    for k in range(5):
        kit.send(kit.sign(copier, dress(patch.adapter, other.adapter, k)), judge)
    for _ in range(2):
        judge.merge("yes")
    assert proofs(judge, copier) == 0
    assert standing(judge, copier) == "unknown"
    assert not believed(judge, kit, copier, patch)


def test_five_near_copies_of_ones_own_update_count_once(judge, kit, author, copier):
    _, patch = author
    for k in range(5):
        kit.send(kit.sign(copier, scaled(patch.adapter, 1 - 0.01 * k)), judge)
    judge.merge("yes")
    assert proofs(judge, copier) == 1


def test_five_updates_of_ones_own_prove_their_author_in_their_domain_alone(
    judge, kit, author, copier
):
    _, patch = author
    for k in range(5):
        assert standing(judge, copier) == "unknown"
        kit.send(kit.sign(copier, kit.distinct(patch.adapter, k)), judge)
        judge.merge("yes")
    assert (proofs(judge, copier), standing(judge, copier)) == (5, "proven")
    assert not believed(judge, kit, copier, patch)
    assert judge.merge("yes").outcome == "admitted"


def test_of_two_strangers_the_first_to_come_is_believed(judge, kit, author, copier, make):
    _, patch = author
    second = make("second")
    for node in (copier, second):
        kit.send(kit.sign(node, patch.adapter), judge)
        judge.merge("yes")
    assert (proofs(judge, copier), proofs(judge, second)) == (1, 0)


def test_who_ran_ahead_of_a_friend_loses_what_the_friend_has_earned(judge, kit, author, copier):
    owner, patch = author
    updates = [kit.distinct(patch.adapter, k) for k in range(5)]
    for each in updates:
        kit.send(kit.sign(copier, each), judge)
    judge.merge("yes")
    assert standing(judge, copier) == "proven"  # nobody can know better yet
    for each in updates:
        kit.send(kit.sign(owner, each), judge)
    judge.merge("yes")
    assert proofs(judge, owner) == 0  # a stranger, too, and later
    judge.vouch(owner.key)
    assert standing(judge, copier) == "unknown"  # until they are compared again
    judge.merge("yes")
    assert (proofs(judge, copier), proofs(judge, owner)) == (0, 5)
    assert standing(judge, copier) == "unknown"


def test_a_friends_original_that_comes_last_takes_the_proof_back(judge, kit, author, copier):
    owner, patch = author
    judge.vouch(owner.key)
    kit.send(kit.sign(copier, patch.adapter), judge)
    judge.merge("yes")
    assert proofs(judge, copier) == 1
    kit.send(patch, judge)
    judge.merge("yes")
    assert proofs(judge, copier) == 0


def test_a_copy_of_the_nodes_own_patch_earns_nothing(judge, kit, author, copier):
    _, patch = author
    mine = judge.seal(patch.adapter, domain="yes")
    kit.send(kit.sign(copier, changed(mine, lambda b: b * 0.9)), judge)
    judge.merge("yes")
    assert proofs(judge, copier) == 0


def test_what_no_screen_would_pass_stops_no_comparison(judge, kit, author, copier, make):
    _, patch = author
    broken = changed(patch, lambda b: b * float("nan"))
    kit.send(kit.sign(make("third"), broken, "elsewhere"), judge)  # it came first, and waits
    for _ in range(2):
        kit.send(kit.sign(copier, patch.adapter), judge)
    judge.merge("yes")
    assert proofs(judge, copier) == 1


def test_a_harm_takes_back_what_was_earned_in_every_domain(judge, kit, author, copier):
    _, patch = author
    kit.prove(judge, copier.context.identity.author, "other")
    assert standing(judge, copier) == "proven"
    harmful = kit.sign(copier, changed(patch, lambda b: -0.25 * b))
    kit.send(harmful, judge)
    judge.merge("yes")
    assert standing(judge, copier) == "unknown"
    assert shelf_state(judge, harmful) != "admitted"


def test_a_crowd_of_decoys_does_not_push_the_originals_out_of_sight(make, kit, author):
    """Sums of a friend's updates, and noisy ones beside each that a throw-away key has signed."""
    owner, patch = author
    places = {"sandbox_max": 200, "sandbox_per_relay": 200}
    judge = make("judge", strangers_per_merge=16, base_texts=2, **places)
    kit.teach(judge, "yes", "yes yes", 1, 24)
    judge.vouch(owner.key)
    copier, fog = make("copier"), make("fog")
    theirs = [kit.sign(owner, kit.distinct(patch.adapter, 7 + k, share=1.2)) for k in range(4)]
    for each in theirs:
        kit.send(each, judge)
    judge.merge("yes")
    for k in range(2):
        made = sum_of(theirs[2 * k].adapter, theirs[2 * k + 1].adapter, 0.5)
        decoy = kit.distinct(made, 1000 + k, share=0.3)
        for again in range(4):  # one payload, and three more that are nearly it
            with fog.context.store.writing("x"):
                near = decoy if again < 2 else kit.distinct(decoy, 2000 + again, share=0.05)
                told = own_records.sign(fog.context, near, "elsewhere", licence=str(again))
            kit.send(told, judge)
        assert kit.send(kit.sign(copier, made), judge)
    for _ in range(2):
        judge.merge("yes")
    assert proofs(judge, copier) == 0
