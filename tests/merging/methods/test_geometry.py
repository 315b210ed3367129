"""Means of points and of directions: mergekit's numbers where it is right, laws everywhere."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging.deltas import LoraDelta
from hivelearn.merging.errors import MergeError
from hivelearn.merging.methods import geometry
from hivelearn.merging.methods.gram import gram

SOME = settings(max_examples=25, deadline=None, derandomize=True)
SEEDS = st.integers(0, 9_999)
PAIRS = {"slerp": geometry.slerp, "nuslerp": geometry.nuslerp}
SPHERE = {"multislerp": geometry.multislerp, "karcher": geometry.karcher}
MANY = {"linear": geometry.linear, "model_stock": geometry.model_stock, **SPHERE}
ALL = {**PAIRS, **MANY}


def deltas_of(count, seed=0, *, common=0.7, scale=1.0):
    """(n, 480) float64, flat deltas of rank 8 with something in common."""
    chance = torch.Generator().manual_seed(seed)
    shared = torch.randn(20, 4, generator=chance) @ torch.randn(4, 24, generator=chance)
    own = torch.randn(count, 20, 4, generator=chance) @ torch.randn(count, 4, 24, generator=chance)
    sizes = torch.rand(count, 1, 1, generator=chance) + 0.5
    return ((common * shared + own) * sizes * scale).flatten(1).double()


def weights_of(count, seed=0):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed)).double() + 0.1


def merged(rule, flat, weights, **params):
    return rule(flat @ flat.T, weights, **params) @ flat


def gap(found, expected):
    return float((found - expected.double()).norm() / expected.double().norm().clamp_min(1e-300))


def mergekit(method, flat, *, base=False, **parameters):
    """What mergekit 0.1.5 makes of the same deltas, in float32."""
    methods = pytest.importorskip("mergekit.merge_methods")
    tensors = [row.view(20, 24) for row in flat.float()]
    if base:
        tensors = [torch.zeros(20, 24), *tensors]
    place = 0 if base or method == "slerp" else None
    merge = methods.merge_tensors
    return merge(tensors, method, parameters=parameters, base_index=place).flatten()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_linear_and_task_arithmetic_are_mergekits(count):
    flat, weights = deltas_of(count), weights_of(count)
    rival = mergekit("linear", flat, weight=weights.tolist())
    assert gap(merged(geometry.linear, flat, weights), rival) < 1e-6
    parameters = {"weight": weights.tolist(), "lambda": 0.7}
    rival = mergekit("task_arithmetic", flat, base=True, **parameters)
    assert gap(merged(geometry.task_arithmetic, flat, weights, lam=0.7), rival) < 1e-6


@pytest.mark.parametrize("common", [-1.0, 0.0, 0.7, 300.0])  # 300: cos > .9995
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_slerp_is_mergekits(common, t):
    flat = deltas_of(2, common=common)
    weights = torch.ones(2).double()
    assert gap(merged(geometry.slerp, flat, weights, t=t), mergekit("slerp", flat, t=t)) < 1e-5


@pytest.mark.parametrize("base", [False, True])
def test_nuslerp_is_mergekits(base):
    flat, weights = deltas_of(2), weights_of(2)
    rival = mergekit("nuslerp", flat, base=base, weight=weights.tolist())
    assert gap(merged(geometry.nuslerp, flat, weights), rival) < 1e-5


@pytest.mark.parametrize("common", [0.0, 0.7, 5.0])
@pytest.mark.parametrize("count", [2, 3, 16])
def test_multislerp_is_mergekits_with_and_without_base(count, common):
    flat, weights = deltas_of(count, common=common), weights_of(count)
    for base in (False, True):
        rival = mergekit("multislerp", flat, base=base, weight=weights.tolist())
        assert gap(merged(geometry.multislerp, flat, weights), rival) < 1e-5


@pytest.mark.parametrize("common", [0.0, 0.7, 5.0])
@pytest.mark.parametrize("count", [2, 3, 16])
def test_karcher_with_equal_weights_is_mergekits(count, common):
    flat, weights = deltas_of(count, common=common), torch.ones(count).double()
    rival = mergekit("karcher", flat)
    short = merged(geometry.karcher, flat, weights, rounds=10, tol=1e-5)
    assert gap(short, rival) < 1e-5
    if common:  # else ten rounds are too few for 16: they leave 1.1e-4
        assert gap(merged(geometry.karcher, flat, weights), rival) < 1e-4


@pytest.mark.parametrize("count", [2, 3, 16])
def test_model_stock_with_equal_weights_is_mergekits(count):
    flat, weights = deltas_of(count), torch.ones(count).double()
    rival = mergekit("model_stock", flat, base=True)
    assert gap(merged(geometry.model_stock, flat, weights), rival) < 1e-5


def test_model_stock_needs_no_scale_where_mergekit_has_one():
    weights = torch.ones(4).double()
    large = merged(geometry.model_stock, deltas_of(4), weights)
    small = merged(geometry.model_stock, deltas_of(4, scale=1e-6), weights)
    assert gap(small * 1e6, large) < 1e-6  # float32 deltas
    rival = mergekit("model_stock", deltas_of(4, scale=1e-6), base=True)
    assert float(rival.norm() / small.norm()) < 0.01  # clamped at 1e-6: .0036 of the right step


def test_model_stock_stays_where_it_is_when_deltas_oppose_each_other():
    flat = deltas_of(2, common=0.0)
    flat[1] = -flat[0] + 0.5 * flat[1]
    found = merged(geometry.model_stock, flat, torch.ones(2).double())
    assert float(found.norm()) == 0.0
    # mergekit's t is below zero here: it steps back from what was learnt.
    assert float(mergekit("model_stock", flat, base=True) @ flat.mean(dim=0).float()) < 0.0


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
@SOME
@given(SEEDS, st.floats(-9, 3))
def test_the_unit_of_the_deltas_does_not_matter(rule, seed, exponent):
    count = 2 if rule in PAIRS.values() else 4
    flat, weights = deltas_of(count, seed), weights_of(count, seed)
    inner = flat @ flat.T
    plain, scaled = rule(inner, weights), rule(inner * 100.0**exponent, weights)
    assert gap(scaled, plain) < 1e-6


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
@SOME
@given(SEEDS)
def test_order_does_not_matter(rule, seed):
    count = 2 if rule in PAIRS.values() else 5
    flat, weights = deltas_of(count, seed), weights_of(count, seed)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    assert gap(merged(rule, flat[order], weights[order]), merged(rule, flat, weights)) < 1e-9


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
@SOME
@given(SEEDS, st.floats(0.01, 100.0))
def test_only_ratios_of_weights_count_and_none_is_absent(rule, seed, factor):
    count = 2 if rule in PAIRS.values() else 4
    flat, weights = deltas_of(count + 1, seed), weights_of(count + 1, seed)
    weights[1] = 0.0
    flat[1] *= 1e6
    kept = torch.arange(count + 1) != 1
    found = rule(flat @ flat.T, weights * factor)
    assert float(found[1]) == 0.0
    assert gap(found[kept] @ flat[kept], merged(rule, flat[kept], weights[kept])) < 1e-9


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
@pytest.mark.parametrize("size", [0.0, 1e-12, 7.0])
def test_one_delta_merges_to_itself(rule, size):
    found = rule(torch.tensor([[size * size]]).double(), torch.tensor([0.2]).double())
    assert found.tolist() == [1.0]


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_the_same_delta_twice_is_that_delta(rule):
    one = deltas_of(1)
    assert gap(merged(rule, one.expand(2, -1), weights_of(2)), one[0]) < 1e-7


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_other_factors_and_mixed_ranks_give_the_same_merge(rule):
    chance = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=chance).double()
    pairs = [(draw(3, 24), draw(20, 3)), (draw(5, 24), draw(20, 5))]
    mix = draw(5, 5)
    same = [
        (torch.cat([pairs[0][0]] * 2), torch.cat([pairs[0][1], -pairs[0][1] * 0.5], dim=1) * 2),
        (mix @ pairs[1][0], pairs[1][1] @ torch.linalg.inv(mix)),
    ]
    plain = rule(gram([LoraDelta(a, b, 2.0, 1.0) for a, b in pairs]), weights_of(2))
    turned = rule(gram([LoraDelta(a, b, 2.0, 1.0) for a, b in same]), weights_of(2))
    assert gap(turned, plain) < 1e-9


@SOME
@given(SEEDS, st.integers(2, 12))
def test_at_the_karcher_mean_the_directions_pull_nowhere(seed, count):
    flat, weights = deltas_of(count, seed, common=0.4), weights_of(count, seed)
    found = merged(geometry.karcher, flat, weights)
    lengths = flat.norm(dim=1)
    assert float(found.norm() / (weights @ lengths) * weights.sum()) == pytest.approx(1.0)
    units, mean = flat / lengths[:, None], found / found.norm()
    angles = (units @ mean).arccos()
    pull = (weights / weights.sum() * angles / angles.sin()) @ (
        units - (units @ mean)[:, None] * mean
    )
    assert float(pull.norm()) < 1e-6


def test_ten_rounds_can_leave_a_karcher_mean_far_from_home():
    flat = torch.randn(8, 3, generator=torch.Generator().manual_seed(1)).double()
    weights = torch.ones(8).double()
    short = merged(geometry.karcher, flat, weights, rounds=10, tol=1e-5)
    assert gap(short, merged(geometry.karcher, flat, weights)) > 1e-3


@SOME
@given(SEEDS, st.floats(0.05, 0.95))
def test_slerp_walks_the_arc_at_constant_speed(seed, t):
    flat = torch.nn.functional.normalize(deltas_of(2, seed), dim=1)
    found = merged(geometry.slerp, flat, torch.tensor([1.0 - t, t]).double())
    whole = math.acos(float(flat[0] @ flat[1]))
    assert float(found.norm()) == pytest.approx(1.0)
    assert math.acos(float(found @ flat[0])) == pytest.approx(t * whole, rel=1e-6)


@pytest.mark.parametrize("rule", SPHERE.values(), ids=SPHERE)
def test_a_zero_delta_has_a_norm_but_no_direction(rule):
    flat = deltas_of(3)
    flat[1] = 0.0
    found = merged(rule, flat, torch.ones(3).double())
    assert gap(found, merged(rule, flat[[0, 2]], torch.ones(2).double()) * 2 / 3) < 1e-6
    if rule is geometry.karcher:
        assert gap(found, mergekit("karcher", flat)) < 1e-5


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_zero_deltas_merge_to_zero_and_never_to_nan(rule):
    weights = torch.ones(2).double()
    assert bool(rule(torch.zeros(2, 2).double(), weights).isfinite().all())
    assert bool(rule(torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double(), weights).isfinite().all())


@pytest.mark.parametrize("rule", SPHERE.values(), ids=SPHERE)
def test_directions_that_cancel_are_refused(rule):
    flat = deltas_of(1).repeat(2, 1) * torch.tensor([[3.0], [-1.0]])
    with pytest.raises(MergeError, match="opposite directions"):
        merged(rule, flat, torch.ones(2).double())
    assert bool(merged(rule, flat, torch.tensor([2.0, 1.0]).double()).isfinite().all())


@pytest.mark.parametrize("rule", PAIRS.values(), ids=PAIRS)
def test_between_antipodes_there_is_only_the_chord(rule):
    flat = deltas_of(1).repeat(2, 1) * torch.tensor([[1.0], [-1.0]])
    assert gap(merged(rule, flat, torch.tensor([3.0, 1.0]).double()), 0.5 * flat[0]) < 1e-9


def test_nuslerp_walks_the_arc_where_slerp_takes_the_chord():
    flat = torch.nn.functional.normalize(deltas_of(2), dim=1)
    flat[1] = torch.nn.functional.normalize(0.01 * flat[1] - flat[0], dim=0)  # cos < -.9998
    even = torch.ones(2).double()
    assert float(merged(geometry.nuslerp, flat, even).norm()) == pytest.approx(1.0)
    assert float(merged(geometry.slerp, flat, even).norm()) < 0.01
    assert gap(merged(geometry.nuslerp, flat, even), mergekit("nuslerp", flat, weight=1.0)) < 2e-3


def test_a_weight_that_vanishes_beside_another_is_no_division_by_zero():
    found = geometry.model_stock(torch.eye(2).double(), torch.tensor([1.0, 1e-300]).double())
    assert bool(found.isfinite().all())


REFUSED = {
    "three for an arc": (geometry.slerp, torch.eye(3), [1.0, 1.0, 1.0], "between two"),
    "negative": (geometry.karcher, torch.eye(2), [1.0, -1.0], "delta 1 has a negative share"),
    "NaN weight": (geometry.karcher, torch.eye(2), [float("nan"), 1.0], "delta 0"),
    "no weight": (geometry.karcher, torch.eye(2), [0.0, 0.0], "every weight is 0"),
    "NaN": (geometry.multislerp, torch.full((2, 2), float("nan")), [1.0, 1.0], "NaN"),
    "shape": (geometry.model_stock, torch.eye(3), [1.0, 1.0], "2 weights"),
    "cancelling": (geometry.linear, torch.eye(2), [1.0, -1.0], "weights cancel"),
}


@pytest.mark.parametrize(("rule", "inner", "weights", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_answer_is_refused(rule, inner, weights, says):
    with pytest.raises(MergeError, match=says):
        rule(inner.double(), torch.tensor(weights).double())


def test_linear_and_task_arithmetic_may_subtract():
    weights = torch.tensor([1.0, -0.5]).double()
    assert geometry.linear(None, weights).tolist() == [2.0, -1.0]
    assert geometry.task_arithmetic(None, weights, lam=2.0).tolist() == [2.0, -1.0]
