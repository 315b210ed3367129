"""The laws of a merge's shares: caps hold, crowds gain nothing, honesty has a known price."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.errors import UsageError
from hivelearn.trust.beta import Beta
from hivelearn.trust.standing import Standing, Vouch
from hivelearn.trust.weights import Caps, authors_weights, known


def key(number):
    return number.to_bytes(32, "big")


ME, NEWCOMER = key(0), key(99)
FEW = 1e-12  # what float sums may miss


def weigh(gains, standings=(), friends=(), edges=(), caps=None):
    vouches = [Vouch(ME, key(n)) for n in friends] + [Vouch(key(a), key(b)) for a, b in edges]
    named = {key(author): gain for author, gain in gains.items()}
    return authors_weights(named, {s.author: s for s in standings}, vouches, roots=[ME], caps=caps)


@st.composite
def swarms(draw):
    """Gains, standings without harm, friends and the vouches of others, all among ten authors."""
    authors = draw(st.sets(st.integers(1, 10), min_size=1))
    gains = {n: draw(st.floats(-1, 1)) for n in sorted(authors)}
    standings = [
        Standing(
            key(n), Beta(draw(st.floats(0, 50)), draw(st.floats(0, 50))), draw(st.integers(0, 9))
        )
        for n in sorted(authors)
    ]
    pairs = st.tuples(st.integers(1, 10), st.integers(1, 10))
    return gains, standings, draw(st.sets(st.integers(1, 10))), draw(st.sets(pairs, max_size=12))


@settings(max_examples=40)
@given(swarms())
def test_shares_and_incumbent_are_one_and_every_cap_holds(swarm):
    weights = weigh(*swarm)
    total = math.fsum(weights.shares.values())
    assert 0 <= total <= 1 + FEW
    assert weights.incumbent == pytest.approx(1 - total)
    assert all(0 <= share <= 0.20 for share in weights.shares.values())
    kinds = known(weights.shares, {s.author: s for s in swarm[1]}, vouches_of(swarm), roots=[ME])
    for kind, cap in (("unknown", 0.05), ("proven", 0.20)):
        assert math.fsum(weights.shares[k] for k in kinds if kinds[k] == kind) <= cap + FEW
    assert all(why.endswith(".") for why in weights.why.values())


def vouches_of(swarm):
    _, _, friends, edges = swarm
    return [Vouch(ME, key(n)) for n in friends] + [Vouch(key(a), key(b)) for a, b in edges]


@settings(max_examples=40)
@given(swarms(), st.integers(1, 10), st.floats(0, 1))
def test_more_gain_never_means_less_weight(swarm, author, more):
    gains, *rest = swarm
    before = weigh({author: 0.01, **gains}, *rest)
    raised = {author: 0.01, **gains}
    raised[author] += more
    assert weigh(raised, *rest).shares[key(author)] >= before.shares[key(author)] - FEW


@settings(max_examples=40)
@given(swarms(), st.integers(1, 10))
def test_an_own_vouch_never_lowers_the_one_vouched_for(swarm, author):
    gains, standings, friends, edges = swarm
    gains = {author: 0.01, **gains}
    before = weigh(gains, standings, friends, edges).shares[key(author)]
    after = weigh(gains, standings, friends | {author}, edges).shares[key(author)]
    assert after >= before - 1e-9


@settings(max_examples=40)
@given(swarms(), st.randoms(use_true_random=False))
def test_no_order_of_the_input_changes_a_bit(swarm, chance):
    gains, standings, friends, edges = swarm
    shuffled = [list(gains.items()), list(standings), list(friends), list(edges)]
    for rows in shuffled:
        chance.shuffle(rows)
    again = weigh(dict(shuffled[0]), *shuffled[1:])
    assert (again.shares, again.incumbent) == (weigh(*swarm).shares, weigh(*swarm).incumbent)


@settings(max_examples=40)
@given(swarms(), st.floats(0.001, 1), st.integers(2, 10))
def test_splitting_an_unknown_identity_gains_nothing(swarm, gain, parts):
    gains, *rest = swarm
    one = weigh({**gains, 500: gain}, *rest).shares[key(500)]
    split = weigh({**gains, **{500 + n: gain for n in range(parts)}}, *rest)
    together = math.fsum(split.shares[key(500 + n)] for n in range(parts))
    copied = gain in gains.values()  # the same patch twice: its copies share its seat
    assert together <= one + FEW or copied


@settings(max_examples=40)
@given(swarms(), st.floats(0.001, 1))
def test_a_stranger_takes_nothing_from_those_who_are_known(swarm, gain):
    gains, standings, friends, edges = swarm
    proven = [replace(s, successes=5) for s in standings]
    before = weigh(gains, proven, friends, edges)
    after = weigh({**gains, 500: gain}, proven, friends, edges)
    assert {k: after.shares[k] for k in before.shares} == before.shares


def test_a_thousand_sybils_get_five_percent_together():
    friends = range(1, 21)
    honest = dict.fromkeys(friends, 0.03)
    veterans = [Standing(key(n), Beta(good=40), successes=40) for n in friends]
    edges = [(1000 + n, 1000 + (n + 1) % 1000) for n in range(1000)]
    sybils = {1000 + n: 50.0 for n in range(1000)}  # a thousand times the honest gain
    weights = weigh(honest | sybils, veterans, friends, edges)
    crowd = math.fsum(weights.shares[key(n)] for n in sybils)
    assert crowd <= 0.05 + FEW
    assert math.fsum(weights.shares[key(n)] for n in honest) >= 0.90
    strict = weigh(honest | sybils, veterans, friends, edges, Caps(unknown=0.0))
    assert math.fsum(strict.shares[key(n)] for n in sybils) == 0


def test_two_hundred_patient_sybils_get_twenty_percent_together():
    """The price of admitting strangers by their work: good for five rounds each, then hostile."""
    friends = range(1, 4)
    sleepers = {1000 + n: 50.0 for n in range(200)}
    records = [Standing(key(n), Beta(good=5), successes=5) for n in sleepers]
    weights = weigh(dict.fromkeys(friends, 0.03) | sleepers, records, friends)
    assert math.fsum(weights.shares[key(n)] for n in sleepers) == pytest.approx(0.20)


@pytest.mark.parametrize(("friends", "share"), [(1, 0.20), (2, 0.20), (4, 0.20), (20, 0.0459)])
def test_in_a_small_swarm_the_caps_stand_and_the_rest_stays_with_the_incumbent(friends, share):
    weights = weigh(dict.fromkeys(range(1, friends + 1), 0.03), (), range(1, friends + 1))
    assert list(weights.shares.values()) == pytest.approx([share] * friends, abs=5e-4)
    assert weights.incumbent == pytest.approx(1 - math.fsum(weights.shares.values()))


def test_an_author_who_did_harm_twice_gets_nothing_even_if_vouched_for():
    weights = weigh({1: 0.5}, [Standing(key(1), harms=2)], [1])
    assert weights.shares == {key(1): 0.0}
    assert weights.why == {key(1): "Unknown; nothing, as it did harm more than once."}


def test_each_kind_of_author_is_told_what_they_are():
    records = [Standing(key(2), successes=5), Standing(key(3), successes=4)]
    vouches = [Vouch(ME, key(1)), Vouch(key(1), key(4))]
    standings = {s.author: s for s in records}
    kinds = known([key(n) for n in range(1, 5)], standings, vouches, roots=[ME])
    assert list(kinds.values()) == ["vouched", "proven", "unknown", "vouched"]


def test_a_friend_without_record_keeps_the_seat_among_veterans():
    friends = range(1, 20)
    veterans = [Standing(key(n), Beta(good=50), successes=50) for n in friends]
    gains = dict.fromkeys([*friends, 99], 0.03)
    weights = weigh(gains, veterans, [*friends, 99])
    assert weights.shares[NEWCOMER] == pytest.approx(0.05)
    assert "holds the seat" in weights.why[NEWCOMER]
    better = weigh(gains | {98: 0.04}, veterans, [*friends, 99])
    assert better.shares[NEWCOMER] < 0.05


def test_no_gain_no_share():
    weights = weigh({1: 0.0, 2: -3.0}, (), [1, 2])
    assert weights.incumbent == 1.0
    assert weights.why[key(1)] == "Vouched; nothing, as no gain was measured."
    assert weigh({7: 0.01, 8: 0.02}).why[key(7)].endswith("went to a better one.")
    assert weigh({}).incumbent == 1.0


def rounds_until(share_of_fair, friends):
    """Rounds until an honest, unvouched newcomer, judged once a round, has that share of fair."""
    gains = dict.fromkeys([*range(1, friends + 1), 99], 0.03)
    records = {n: Standing(key(n), Beta(good=40), successes=40) for n in range(1, friends + 1)}
    records[99] = Standing(NEWCOMER)
    for round_ in range(1, 100):
        records = {n: record.after_round(["success"]) for n, record in records.items()}
        weights = weigh(gains, records.values(), range(1, friends + 1))
        if (
            records[99].proven
            and weights.shares[NEWCOMER] >= share_of_fair * weights.shares[key(1)]
        ):
            return round_
    return None


COSTS = {1: 5, 2: 5, 3: 6, 5: 11, 10: 11, 20: 11}  # friends -> rounds to half of a fair share


@pytest.mark.parametrize("friends", COSTS)
def test_what_honesty_without_friends_costs(friends):
    assert rounds_until(0.0, friends) == 5  # known: experts of this author are routed to
    assert rounds_until(0.49, friends) == COSTS[friends]


@pytest.mark.parametrize("gain", [math.nan, math.inf, -math.inf])
def test_a_gain_that_is_no_number_is_refused(gain):
    with pytest.raises(UsageError):
        weigh({1: gain})


@pytest.mark.parametrize(
    "wrong", [{"one": 1.1}, {"unknown": -0.1}, {"proven": math.nan}, {"per_rank": math.inf}]
)
def test_caps_that_are_no_shares_are_refused(wrong):
    with pytest.raises(UsageError):
        Caps(**wrong)
