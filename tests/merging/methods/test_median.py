"""The geometric median is where unit pulls balance, wherever the hostile ones stand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging.methods.median import geometric_median, weighted_median

SOME = settings(max_examples=50, deadline=None, derandomize=True)
SEEDS = st.integers(0, 9_999)


def points_of(count, seed=0, dims=30):
    """(n, dims) float64, a cloud around a common point."""
    chance = torch.Generator().manual_seed(seed)
    return 1.0 + 0.5 * torch.randn(count, dims, generator=chance).double()


def weights_of(count, seed=0):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed + 1)).double() + 0.1


def median(flat, weights):
    return geometric_median(flat @ flat.T, weights) @ flat


def gap(found, expected):
    return float((found - expected).norm() / expected.norm().clamp_min(1e-300))


@SOME
@given(SEEDS, st.floats(0.05, 0.49), st.sampled_from([0.0, 1.0, 1e3, 1e9]), st.booleans())
def test_it_keeps_minskers_bound_wherever_the_hostile_ones_stand(seed, share, loud, together):
    """Lemma 2.1 of arXiv:1308.1334, for the honest mean as the point."""
    flat = points_of(12, seed)
    centre = flat[:9].mean(dim=0)
    flat[9:] = -loud * (centre if together else flat[9:])
    honest, hostile = [(1 - share) / 9] * 9, [share / 3] * 3
    radius = float((flat[:9] - centre).norm(dim=1).max())
    found = median(flat, torch.tensor([*honest, *hostile]).double())
    assert float((found - centre).norm()) <= 1.0001 * (1 - share) / (1 - 2 * share) ** 0.5 * radius


@SOME
@given(SEEDS, st.integers(2, 9), st.sampled_from([2, 3, 30]))
def test_unit_pulls_balance_or_one_delta_outdoes_them(seed, count, dims):
    flat, weights = points_of(count + 1, seed, dims), weights_of(count + 1, seed)
    away = flat - median(flat, weights)
    lengths = away.norm(dim=1)
    units = away / lengths.clamp_min(1e-9)[:, None]
    nearest = int(lengths.argmin())
    if float(lengths[nearest]) < 1e-6:  # it is this delta
        units[nearest] = 0.0
        assert float((weights @ units).norm()) <= float(weights[nearest])
    else:
        assert float((weights @ units).norm() / weights.sum()) < 1e-8


@pytest.mark.parametrize("loud", [0.0, 1e3, 1e9])
def test_thirty_steps_are_enough_with_49_percent_far_off(loud):
    """Weiszfeld's iteration needs a thousand; from zero it never leaves a zero patch."""
    flat = points_of(12, 1)
    flat[9:] *= -loud
    weights = torch.tensor([0.51 / 9] * 9 + [0.49 / 3] * 3).double()
    inner = flat @ flat.T
    short, long = (geometric_median(inner, weights, rounds=n) @ flat for n in (30, 1000))
    assert gap(short, long) < 1e-7
    assert float((short - flat[:9].mean(dim=0)).norm()) < 10.0


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_deltas_on_one_line_have_a_median_between_the_middle_two(count):
    flat = torch.arange(1.0, count + 1)[:, None].double() * torch.ones(1, 5).double()
    found = median(flat, torch.ones(count).double())
    assert gap(found, torch.full((5,), (count + 1) / 2).double()) < 1e-6


def test_half_of_the_trust_on_one_spot_is_the_median():
    flat = points_of(5)
    flat[1] = flat[0]
    weights = torch.tensor([0.3, 0.3, 0.2, 0.1, 0.1]).double()
    assert gap(median(flat, weights), flat[0]) < 1e-9


def test_the_weighted_median_has_half_the_weight_on_either_side():
    values = torch.tensor([[5.0, 1.0, 1.0], [1.0, 2.0, 2.0], [3.0, 4.0, 9.0]]).double()
    weights = torch.tensor([[1.0, 3.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]).double()
    assert weighted_median(values, weights).tolist() == [3.0, 1.0, 1.5]
    assert weighted_median(values, torch.zeros(3, 3).double()).tolist() == [0.0] * 3


def test_one_round_moves_from_the_mean_towards_the_median():
    flat = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [9.0, 9.0]], dtype=torch.float64)
    weights = torch.full((4,), 0.25, dtype=torch.float64)
    inner = flat @ flat.T
    mean, once, settled = (
        flat.mean(0) if rounds == 0 else geometric_median(inner, weights, rounds=rounds) @ flat
        for rounds in (0, 1, 100)
    )
    assert float((once - settled).norm()) < float((mean - settled).norm())
