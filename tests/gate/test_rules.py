"""Adopted is what is better, admitted what is harmless and trusted; blame needs proof."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.gate.gain import Gain, Unmeasured, paired_gain
from hivelearn.gate.rules import Evidence, RuleLimits, judge_expert, judge_merge, judge_outlier

BETTER = Gain(0.031, 0.02, 0.042, 60)
UNSURE = Gain(0.004, -0.011, 0.019, 60)
WIDE = Gain(0.0, -0.021, 0.3, 20)
WORSE = Gain(-0.3, -0.4, -0.2, 60)
SAME = Gain(0.0, 0.0, 0.0, 60)
UNKNOWN = Unmeasured()

bounds = st.floats(-1, 1)
gains = st.builds(lambda a, b: Gain((a + b) / 2, min(a, b), max(a, b), 30), bounds, bounds)
measures = st.one_of(gains, st.just(UNKNOWN))
evidences = st.builds(
    Evidence,
    st.just("roman"),
    measures,
    st.dictionaries(st.sampled_from("abc"), measures),
    measures,
)

MERGES = {
    "better at home, unmeasured elsewhere": (Evidence("roman", BETTER), "fit.better"),
    "better at home, same elsewhere": (
        Evidence("roman", BETTER, {"iso": SAME}, SAME),
        "fit.better",
    ),
    "unsure at home": (Evidence("roman", UNSURE, {"iso": BETTER}, BETTER), "fit.no-lift"),
    "no change": (Evidence("roman", SAME), "fit.no-lift"),
    "worse at home": (Evidence("roman", WORSE), "fit.no-lift"),
    "too few at home": (Evidence("roman", Unmeasured("too little evidence, n=7")), "evidence.few"),
    "harms another domain": (Evidence("roman", BETTER, {"iso": WORSE}, SAME), "fit.harm"),
    "harms the base texts": (Evidence("roman", BETTER, {"iso": SAME}, WORSE), "fit.harm"),
    "may harm, not known": (Evidence("roman", BETTER, {"iso": WIDE}), "fit.harm"),
}


@pytest.mark.parametrize(("evidence", "code"), MERGES.values(), ids=MERGES.keys())
def test_a_merge_is_adopted_iff_better_at_home_and_harmless(evidence, code):
    verdict = judge_merge(evidence)
    assert (verdict.code, verdict.accepted) == (code, code == "fit.better")
    assert verdict.fault == "nobody"


def test_a_verdict_speaks_in_figures():
    assert judge_merge(Evidence("roman", BETTER, {"iso-date": UNKNOWN})).why == (
        "own +0.031 nats [0.020, 0.042] n=60; "
        "iso-date: unmeasured here; base texts: unmeasured here"
    )
    assert judge_merge(Evidence("roman", UNSURE)).why == (
        "no lift. own +0.004 nats [-0.011, 0.019] n=60"
    )
    few = judge_merge(Evidence("roman", Unmeasured("too little evidence, n=7")))
    assert few.why == "too little evidence, n=7"
    harm = judge_merge(Evidence("roman", BETTER, {"b": WIDE, "a": WORSE}))  # the worst is named
    assert (harm.why, harm.measured, harm.limit) == (
        "harms a: -0.300 nats [-0.400, -0.200] n=60",
        -0.4,
        -0.02,
    )


@given(evidences)
def test_nothing_is_adopted_while_zero_lies_in_the_interval(evidence):
    verdict = judge_merge(evidence)
    if verdict.accepted:
        assert evidence.own.low > 0
    if isinstance(evidence.own, Gain) and evidence.own.low <= 0 <= evidence.own.high:
        assert not verdict.accepted


@given(evidences, st.booleans())
def test_what_may_cost_more_than_tau_is_never_let_in(evidence, trusted):
    everywhere = [*evidence.others.values(), evidence.base]
    harmful = any(isinstance(each, Gain) and each.low < -0.02 for each in everywhere)
    if harmful:
        assert not judge_merge(evidence).accepted
        assert not judge_expert(evidence, trusted=trusted).accepted


@settings(max_examples=20)
@given(st.lists(st.floats(0, 5), min_size=20, max_size=30), st.floats(-0.3, 0.3))
def test_a_change_and_its_reverse_are_never_both_adopted(losses, shift):
    after = [max(0.0, loss - shift * (n % 3)) for n, loss in enumerate(losses)]
    there = Evidence("roman", paired_gain(losses, after, seed=1))
    back = Evidence("roman", paired_gain(after, losses, seed=1))
    assert not (judge_merge(there).accepted and judge_merge(back).accepted)


EXPERTS = {
    "trusted, harmless, unmeasured at home": (
        Evidence("roman", UNKNOWN, {"iso": SAME}, SAME),
        True,
    ),
    "trusted, harmless, useless": (Evidence("roman", SAME, {}, SAME), True),
    "harms the base texts": (Evidence("roman", UNKNOWN, {"iso": SAME}, WORSE), False),
    "harms another domain": (Evidence("roman", UNKNOWN, {"iso": WORSE}, SAME), False),
    "harms its own domain": (Evidence("roman", WORSE, {"iso": SAME}, SAME), False),
}


@pytest.mark.parametrize(("evidence", "harmless"), EXPERTS.values(), ids=EXPERTS.keys())
def test_an_expert_is_admitted_iff_harmless_and_trusted(evidence, harmless):
    trusted, unknown = (judge_expert(evidence, trusted=known) for known in (True, False))
    assert trusted.accepted is harmless
    assert not unknown.accepted
    assert unknown.code == ("trust.unknown" if harmless else "fit.harm")


def test_an_unknown_author_is_nobodys_fault_and_a_proven_harm_the_authors():
    assert judge_expert(Evidence("roman"), trusted=False).fault == "nobody"
    assert judge_expert(Evidence("roman", base=WORSE), trusted=True).fault == "author"
    assert judge_expert(Evidence("roman", base=WIDE), trusted=True).fault == "nobody"


def test_an_admitted_experts_gain_reads_unmeasured_here():
    verdict = judge_expert(Evidence("roman", UNKNOWN, {"iso": SAME}, SAME), trusted=True)
    assert verdict.why == "no harm on 2 of 3 probes; own unmeasured here"


HONEST = [1.0, 1.02, 0.98, 1.01, 0.99]  # median 1, MAD .01: the limit is 1 + max(.0444, .03)

OUTLIERS = {
    "inside": (1.044, HONEST, WORSE, "fit.within"),
    "outside and worse": (1.046, HONEST, WORSE, "fit.outlier"),
    "outside but better": (2.0, HONEST, BETTER, "fit.within"),
    "outside, unmeasured": (2.0, HONEST, UNKNOWN, "fit.within"),
    "tight cohort, inside": (1.029, [1.0] * 5, WORSE, "fit.within"),
    "tight cohort, outside": (1.031, [1.0] * 5, WORSE, "fit.outlier"),
    "cohort of three": (9.0, [1.0, 1.0, 9.0], WORSE, "cohort.small"),
    "cohort of four": (9.0, [1.0, 1.0, 1.0, 9.0], WORSE, "fit.outlier"),
    "NaN": (math.nan, [*HONEST, math.nan], WORSE, "fit.outlier"),
    "one NaN in the cohort": (1.0, [*HONEST, math.nan], WORSE, "fit.within"),
}


@pytest.mark.parametrize(("loss", "cohort", "gain", "code"), OUTLIERS.values(), ids=OUTLIERS.keys())
def test_an_outlier_stands_out_and_makes_things_worse(loss, cohort, gain, code):
    verdict = judge_outlier(loss, cohort, gain)
    assert (verdict.code, verdict.accepted) == (code, code != "fit.outlier")
    assert verdict.fault == ("author" if code == "fit.outlier" else "nobody")


def test_limits_can_be_lowered():
    strict = RuleLimits(tau=0.001, cohort_min=2, outlier_min=0.0, mads=0.0)
    slight = Evidence("roman", BETTER, {"iso": Gain(0.0, -0.01, 0.01, 60)})
    assert judge_merge(slight).accepted
    assert not judge_merge(slight, strict).accepted
    assert not judge_expert(slight, trusted=True, limits=strict).accepted
    assert judge_outlier(1.001, [1.0, 1.0], WORSE, strict).code == "fit.outlier"
