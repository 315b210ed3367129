"""Trust starts at oneself and flows along vouches; strangers cannot make their own."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.errors import UsageError
from hivelearn.trust.rank import rank
from hivelearn.trust.standing import Standing, Vouch


def key(number):
    return number.to_bytes(32, "big")


ME = key(0)


def ranked(*edges, standings=(), **settings):
    vouches = [Vouch(key(a), key(b)) for a, b in edges]
    return rank([ME], vouches, {s.author: s for s in standings}, **settings)


@pytest.mark.parametrize("friends", [1, 2, 3, 20])
def test_direct_vouches_share_what_the_formula_gives(friends):
    # Friends who vouch for nobody hand all back: m + .85 m = 1.
    ranks = ranked(*[(0, n + 1) for n in range(friends)])
    assert ranks[ME] == pytest.approx(1 / 1.85)
    assert ranks[key(1)] == pytest.approx(0.85 / 1.85 / friends)


def test_it_is_the_eigenvector_of_a_small_graph():
    # By hand: m = .15 + .85 x2, x1 = .425 m, x2 = .425 m + .85 x1.
    ranks = ranked((0, 1), (0, 2), (1, 2), (2, 0))
    m = 0.15 / (1 - 0.85 * (0.425 + 0.85 * 0.425))
    assert ranks[ME] == pytest.approx(m, abs=1e-11)
    assert ranks[key(1)] == pytest.approx(0.425 * m, abs=1e-11)
    assert ranks[key(2)] == pytest.approx((0.425 + 0.85 * 0.425) * m, abs=1e-11)


graphs = st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=30)


@given(graphs, st.randoms(use_true_random=False))
def test_the_sum_is_one_and_no_order_changes_a_bit(edges, chance):
    ranks = ranked(*edges)
    assert sum(ranks.values()) == pytest.approx(1.0)
    shuffled = list(edges)
    chance.shuffle(shuffled)
    assert ranked(*shuffled, *shuffled) == ranks


@given(graphs, st.integers(1, 7))
def test_one_more_vouch_never_lowers_the_one_vouched_for(edges, author):
    before = ranked(*edges).get(key(author), 0.0)
    assert ranked(*edges, (0, author))[key(author)] >= before - 1e-11


@given(graphs)
def test_strangers_who_praise_one_another_get_nothing(edges):
    sybils = [(a + 100, b + 100) for a, b in edges] + [(a + 100, b) for a, b in edges]
    assert ranked(*edges, *sybils) == ranked(*edges)


def test_a_harmful_vouchee_cuts_its_voucher():
    harmless = ranked((0, 1), (0, 2), (1, 3))
    harmful = ranked((0, 1), (0, 2), (1, 3), standings=[Standing(key(3), harms=1)])
    share = 0.8 * harmless[key(1)] / harmless[ME]
    assert harmful[key(1)] / harmful[ME] == pytest.approx(share)
    assert harmful[key(2)] >= harmless[key(2)]  # the other friend does not pay


def test_one_does_not_lose_trust_in_oneself():
    fallen = Standing(key(1), harms=1)
    edges = (0, 1), (0, 2), (2, 0), (2, 3)
    assert ranked(*edges, standings=[fallen]) == ranked(*edges)


def test_after_two_harms_no_vouch_counts():
    fallen = Standing(key(1), harms=2)
    assert key(1) not in ranked((0, 1), (0, 2), (2, 1), standings=[fallen])


def test_proof_is_worth_half_a_word_and_all_proofs_one():
    one = ranked((0, 1), standings=[Standing(key(9), successes=5)])
    assert one[key(9)] == pytest.approx(one[key(1)] / 2)
    many = ranked((0, 1), standings=[Standing(key(n), successes=5) for n in range(10, 60)])
    assert sum(many[key(n)] for n in range(10, 60)) == pytest.approx(many[key(1)])
    words_only = ranked((0, 1), standings=[Standing(key(9), successes=5)], proofs=False)
    assert key(9) not in words_only


def test_proof_adds_nothing_to_an_own_vouch():
    assert ranked((0, 1), standings=[Standing(key(1), successes=9)]) == ranked((0, 1))


def test_several_roots_share_the_start():
    ranks = rank([key(1), ME], [], {})
    assert ranks == {ME: 0.5, key(1): 0.5}


def test_trust_needs_a_root():
    with pytest.raises(UsageError):
        rank([], [], {})


def test_a_thousand_vouches_are_weighed_in_a_moment():
    chance = random.Random(3)
    edges = {(0, n) for n in range(1, 20)}
    edges |= {(chance.randrange(1, 300), chance.randrange(1, 300)) for _ in range(1000)}
    assert sum(ranked(*edges).values()) == pytest.approx(1.0)
