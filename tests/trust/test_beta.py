"""The cautious estimate, against numbers that do not come from our own series."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.errors import UsageError
from hivelearn.trust.beta import Beta, cumulative, quantile

POINTS = 20_000


def integrated(x, a, b):
    """I_x(a, b) for a, b >= 1 by Simpson's rule on the density itself."""
    log_norm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    step = x / POINTS
    total = 0.0
    for i in range(POINTS + 1):
        t = i * step
        density = t ** (a - 1) * (1 - t) ** (b - 1)
        total += density * (1 if i in (0, POINTS) else 4 if i % 2 else 2)
    return total * step / 3 * math.exp(log_norm)


@pytest.mark.parametrize(("a", "b"), [(1, 3), (6, 3), (3.3, 7.7), (51, 3), (26, 11), (1, 403)])
@pytest.mark.parametrize("x", [0.003, 0.2, 0.5, 0.94])
def test_the_distribution_is_the_integral_of_its_density(x, a, b):
    assert cumulative(x, a, b) == pytest.approx(integrated(x, a, b), rel=1e-8, abs=1e-12)


def test_closed_forms_hold():
    assert cumulative(0.3, 1, 1) == pytest.approx(0.3, rel=1e-14)
    assert cumulative(0.3, 4, 1) == pytest.approx(0.3**4, rel=1e-13)
    assert cumulative(0.3, 2, 2) == pytest.approx(3 * 0.3**2 - 2 * 0.3**3, rel=1e-13)
    assert cumulative(0.5, 0.5, 0.5) == pytest.approx(0.5, rel=1e-13)  # the arcsine law
    assert [cumulative(x, 2, 3) for x in (-1.0, 0.0, 1.0, 2.0)] == [0, 0, 1, 1]
    assert quantile(0.05, 1, 3) == pytest.approx(1 - 0.95 ** (1 / 3), rel=1e-13)


@given(st.floats(0.5, 500), st.floats(0.5, 500), st.floats(0.01, 0.99))
def test_the_quantile_undoes_the_distribution(a, b, share):
    x = quantile(share, a, b)
    assert 0 < x < 1
    assert cumulative(x, a, b) == pytest.approx(share, rel=1e-6)


def test_reliability_starts_low_and_is_earned():
    assert Beta().reliability == pytest.approx(0.016952, abs=1e-6)
    assert Beta(good=5).reliability == pytest.approx(0.400311, abs=1e-6)
    assert Beta(good=50).reliability == pytest.approx(0.885935, abs=1e-6)


@given(st.floats(0, 50), st.floats(0, 200))
def test_one_failure_takes_more_than_one_success_gives(good, bad):
    before = Beta(good, bad)
    both = Beta(good + 1, bad + 4)
    assert both.reliability < Beta(good + 1, bad).reliability
    assert Beta(good + 1, bad).reliability > before.reliability
    assert before.after_round(1, 1).bad == pytest.approx(0.98 * bad + 4)


def test_evidence_fades_by_rounds_towards_the_unknown():
    evidence = Beta(good=50, bad=0)
    for _ in range(400):
        evidence = evidence.after_round()
    assert evidence.reliability == pytest.approx(Beta().reliability, rel=0.1)


@pytest.mark.parametrize("wrong", [(-1.0, 0.0), (0.0, math.inf), (math.nan, 0.0)])
def test_counts_that_are_no_counts_are_refused(wrong):
    with pytest.raises(UsageError):
        Beta(*wrong)
