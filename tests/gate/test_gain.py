"""Gains are paired, seeded, honest about how little is known, and never infinite."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.gate.gain import LOSS_CAP, EvidenceError, Gain, Unmeasured, paired_gain

LOSSES = st.lists(st.floats(0, 10), min_size=20, max_size=40)
FEW = settings(max_examples=20)


def noisy(seed, n, shift, spread=0.5):
    chance = random.Random(seed)
    before = [chance.uniform(1, 3) for _ in range(n)]
    return before, [loss - chance.gauss(shift, spread) for loss in before]


def test_a_gain_prints_mean_interval_and_evidence():
    assert str(Gain(0.0312, 0.02, 0.0419, 60)) == "+0.031 nats [0.020, 0.042] n=60"
    assert str(Gain(-0.5, -1, -0.25, 20)) == "-0.500 nats [-1.000, -0.250] n=20"


@pytest.mark.parametrize("n", [1, 7, 19])
def test_below_twenty_prompts_there_is_a_reason_and_no_figure(n):
    assert paired_gain([1.0] * n, [0.5] * n, seed=0) == Unmeasured(f"too little evidence, n={n}")


def test_no_prompt_at_all_is_unmeasured_here():
    assert str(paired_gain([], [], seed=0)) == "unmeasured here"


def test_twenty_equal_gains_have_an_interval_of_no_width():
    assert paired_gain([2.0] * 20, [1.5] * 20, seed=0) == Gain(0.5, 0.5, 0.5, 20)


def test_the_interval_is_the_normal_one_where_that_is_known():
    before, after = noisy(1, 400, shift=0.1)
    gain = paired_gain(before, after, seed=3)
    differences = [old - new for old, new in zip(before, after, strict=True)]
    mean = sum(differences) / 400
    error = math.sqrt(sum((each - mean) ** 2 for each in differences) / 400) / 20
    assert gain.mean == pytest.approx(mean)
    assert gain.low == pytest.approx(mean - 1.96 * error, abs=0.15 * error)
    assert gain.high == pytest.approx(mean + 1.96 * error, abs=0.15 * error)


def test_a_95_percent_interval_holds_the_truth_about_that_often():
    held = 0
    for seed in range(60):
        gain = paired_gain(*noisy(seed, 40, shift=0.2), seed=seed)
        held += gain.low <= 0.2 <= gain.high
    assert 52 <= held <= 60


def test_pairing_takes_out_that_some_prompts_are_hard():
    before = [float(n) for n in range(30)]  # a spread of 8.7 nats between prompts
    gain = paired_gain(before, [max(0.0, loss - 0.1) for loss in before], seed=0)
    assert 0.08 < gain.low <= gain.high <= 0.1 + 1e-9


@FEW
@given(LOSSES, st.integers(0, 2**32))
def test_equal_losses_and_seeds_give_equal_intervals(losses, seed):
    after = [loss * 0.9 for loss in losses]
    assert paired_gain(losses, after, seed=seed) == paired_gain(losses, after, seed=seed)


@FEW
@given(LOSSES)
def test_the_way_back_is_the_mirror_image(losses):
    after = losses[::-1]
    there, back = paired_gain(losses, after, seed=5), paired_gain(after, losses, seed=5)
    assert (back.mean, back.low, back.high) == (-there.mean, -there.high, -there.low)


@FEW
@given(LOSSES)
def test_no_change_is_no_gain(losses):
    assert paired_gain(losses, losses, seed=1) == Gain(0.0, 0.0, 0.0, len(losses))


@pytest.mark.parametrize("broken", [math.nan, math.inf, 1e30])
def test_breaking_the_model_does_not_leave_the_comparison(broken):
    gain = paired_gain([1.0] * 40, [0.5] * 39 + [broken], seed=0)
    assert gain.n == 40
    assert gain.mean == pytest.approx((39 * 0.5 - (LOSS_CAP - 1)) / 40)
    assert math.isfinite(gain.low)


def test_an_example_without_an_answer_is_left_out_on_both_sides():
    gain = paired_gain([math.nan, *[1.0] * 20], [math.nan, *[0.5] * 20], seed=0)
    assert gain == Gain(0.5, 0.5, 0.5, 20)


def test_losses_of_different_examples_are_refused():
    with pytest.raises(EvidenceError, match="20 losses before, 21 after"):
        paired_gain([1.0] * 20, [1.0] * 21, seed=0)
