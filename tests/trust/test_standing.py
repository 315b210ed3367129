"""What a judgement does to a name, and who may be called proven."""

import pytest

from hivelearn.errors import UsageError
from hivelearn.trust.standing import NOTE_MAX, Standing, Vouch, judge

AUTHOR, FRIEND = b"a" * 32, b"f" * 32


def after(*judgements):
    standing = Standing(AUTHOR)
    for judgement in judgements:
        standing = standing.after_round([judgement] if judgement else [])
    return standing


def test_five_judged_successes_prove_an_author():
    assert not after(*["success"] * 4).proven
    assert after(*["success"] * 5).proven
    assert after(*["success", None] * 5).proven  # rounds without a patch take nothing away


def test_a_failure_costs_reliability_but_not_the_proof():
    failed = after(*["success"] * 5, "failure")
    assert failed.proven
    assert failed.evidence.reliability < after(*["success"] * 3).evidence.reliability


def test_a_confirmed_harm_takes_the_proof_and_two_the_vouch():
    once = after(*["success"] * 9, "harm")
    assert (once.successes, once.harms, once.proven, once.withdrawn) == (0, 1, False, False)
    assert once.after_round(["success"] * 5).proven  # it can be earned again
    assert once.after_round(["success", "harm"]).withdrawn
    assert once.after_round(["success", "harm"]).successes == 0  # whatever their order


def test_a_judgement_outside_a_round_counts_and_ages_nothing():
    known = after(*["success"] * 3)
    fault = known.counted(["failure"])
    assert fault.evidence.good == known.evidence.good
    assert fault.evidence.bad == 4
    assert known.counted([]) == known
    assert known.counted(["harm"]).successes == 0


INTERVALS = {
    "helps for certain": (0.001, 0.04, "success"),
    "may help, may not": (-0.03, 0.04, None),
    "nothing at all": (0.0, 0.0, None),
    "a little worse": (-0.03, -0.001, "failure"),
    "worse, but within the noise of a holdout": (-0.05, -0.02, "failure"),
    "harms for certain": (-0.09, -0.021, "harm"),
}


@pytest.mark.parametrize(("low", "high", "judgement"), INTERVALS.values(), ids=INTERVALS.keys())
def test_only_what_is_certain_touches_a_name(low, high, judgement):
    assert judge(low, high) == judgement


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: judge(1.0, 0.0),
        lambda: judge(float("nan"), 0.0),
        lambda: Standing(b"short"),
        lambda: Standing("a" * 32),
        lambda: Standing(AUTHOR, successes=-1),
        lambda: Standing(AUTHOR, harms=-1),
        lambda: Vouch(AUTHOR, b""),
        lambda: Vouch(b"", AUTHOR),
        lambda: Vouch(AUTHOR, FRIEND, "x" * (NOTE_MAX + 1)),
    ],
)
def test_records_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UsageError):
        wrong()
