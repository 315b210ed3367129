"""Laws of the robust rules: trust counts, heads do not, and a minority has bounds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging.deltas import LoraDelta
from hivelearn.merging.errors import MergeError
from hivelearn.merging.methods import geometry, krum, robust
from hivelearn.merging.methods.gram import gram
from hivelearn.merging.methods.median import geometric_median

SOME = settings(max_examples=25, deadline=None, derandomize=True)
SEEDS = st.integers(0, 9_999)
BY_TRUST = {
    "geometric_median": geometric_median,
    "centred_clip": robust.centred_clip,
    "nnm": robust.nnm,
    "monna": robust.monna,
    "robust": robust.robust,
}
BY_HEADS = {"krum": krum.krum, "multi_krum": krum.multi_krum}
ALL = {**BY_TRUST, **BY_HEADS}


def points_of(count, seed=0):
    """(n, 30) float64, a cloud around a common point."""
    chance = torch.Generator().manual_seed(seed)
    return 1.0 + 0.5 * torch.randn(count, 30, generator=chance).double()


def weights_of(count, seed=0):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed + 1)).double() + 0.1


def merged(rule, flat, weights, **params):
    return rule(flat @ flat.T, weights, **params) @ flat


def gap(found, expected):
    return float((found - expected).norm() / expected.norm().clamp_min(1e-300))


def split(flat, weights, place, copies):
    """One patch as ``copies`` identities that share its weight, in another order."""
    order = [*range(len(flat)), *[place] * (copies - 1)]
    shares = weights[order].clone()
    shares[[n == place for n in order]] /= copies
    turn = torch.arange(len(order)).roll(copies // 2)
    return flat[order][turn], shares[turn]


@pytest.mark.parametrize("rule", [geometry.linear, *BY_TRUST.values()], ids=["linear", *BY_TRUST])
@pytest.mark.parametrize("even", [True, False])
@SOME
@given(SEEDS, st.integers(3, 9), st.integers(2, 10))
def test_a_patch_split_into_many_identities_changes_nothing(rule, even, seed, count, copies):
    flat = points_of(count, seed)
    weights = torch.full((count,), 1.0).double() if even else weights_of(count, seed)
    if rule is robust.monna:  # the pivot stays who it was
        weights[0] *= 1e3
        whole = robust.monna(flat @ flat.T, weights)
        flat2, weights2 = split(flat, weights, 1, copies)
    else:
        whole = rule(flat @ flat.T, weights)
        flat2, weights2 = split(flat, weights, 1, copies)
    assert gap(merged(rule, flat2, weights2), whole @ flat) < 1e-9


@pytest.mark.parametrize("rule", BY_HEADS.values(), ids=BY_HEADS)
def test_rules_that_count_heads_fall_to_a_patch_split_into_ten(rule):
    """Why krum is no default: ten identities of one patch are each other's neighbours."""
    flat, weights = points_of(9), torch.ones(9).double()
    flat[1] = -flat[1]
    honest = merged(rule, flat, weights)
    sybils, shares = split(flat, weights, 1, 10)
    assert gap(merged(rule, sybils, shares), honest) > 0.5
    assert gap(merged(rule, sybils, shares), flat[1]) < 0.9  # multi_krum: ten of its eleven


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
@SOME
@given(SEEDS, st.integers(3, 9))
def test_order_does_not_matter(rule, seed, count):
    flat, weights = points_of(count, seed), weights_of(count, seed)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    assert gap(merged(rule, flat[order], weights[order]), merged(rule, flat, weights)) < 1e-9


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
@SOME
@given(SEEDS, st.floats(0.01, 100.0), st.floats(-8, 8))
def test_only_ratios_of_weights_count_no_unit_does_and_none_is_absent(rule, seed, factor, power):
    flat, weights = points_of(7, seed), weights_of(7, seed)
    flat[2] *= 1e6
    weights[2] = 0.0
    kept = torch.arange(7) != 2
    found = rule(flat @ flat.T * 100.0**power, weights * factor)
    assert float(found[2]) == 0.0
    expected = merged(rule, flat[kept], weights[kept])
    assert gap(found[kept] @ flat[kept], expected) < 1e-7


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
@pytest.mark.parametrize("size", [0.0, 1e-12, 7.0])
def test_one_patch_merges_to_itself_and_equal_ones_to_what_they_are(rule, size):
    one = torch.tensor([[size, 0.0]]).double()
    assert rule(one @ one.T, torch.tensor([0.3]).double()).tolist() == [1.0]
    same = merged(rule, one.expand(6, -1), weights_of(6))
    assert gap(same, one[0]) < 1e-9


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_other_factors_and_mixed_ranks_give_the_same_merge(rule):
    chance = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=chance).double()
    parts = [LoraDelta(draw(rank, 24), draw(20, rank), 2.0, 1.0) for rank in (3, 1, 5, 2, 4)]
    turned = []
    for part in parts:
        rank = len(part.a)
        mix = draw(rank + 1, rank)  # the same delta, from factors of one rank more
        turned.append(LoraDelta(mix @ part.a * 2, part.b @ torch.linalg.pinv(mix), 1.0, 1.0))
    assert gap(rule(gram(turned), weights_of(5)), rule(gram(parts), weights_of(5))) < 1e-9


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
@SOME
@given(SEEDS, st.integers(2, 9))
def test_coefficients_are_shares(rule, seed, count):
    """So no patch is ever amplified or subtracted, whatever the others send."""
    flat = points_of(count, seed) * 10.0 ** (4 * weights_of(count, seed)[:, None])
    found = rule(flat @ flat.T, weights_of(count, seed))
    assert float(found.min()) >= 0.0
    assert float(found.sum()) <= 1.0 + 1e-9


def hostile_points(draw_seed, share, loud):
    """Nine honest points, and a point far off (or zeros) with ``share`` of the trust."""
    flat = points_of(12, draw_seed)
    flat[9:] = -loud * flat[:9].mean(dim=0)
    honest, hostile = [(1 - share) / 9] * 9, [share / 3] * 3
    return flat, torch.tensor([*honest, *hostile]).double()


@SOME
@given(SEEDS, st.floats(0.05, 0.45), st.sampled_from([0.0, 1.0, 1e3, 1e9]))
def test_robust_hardly_moves_while_hostile_trust_is_below_phi(seed, share, loud):
    flat, weights = hostile_points(seed, share, loud)
    centre = flat[:9].mean(dim=0)
    assert gap(merged(robust.robust, flat, weights), centre) < 0.25
    if loud:
        assert gap(merged(geometry.linear, flat, weights), centre) > 0.09


@SOME
@given(SEEDS)
def test_shortening_a_loud_patch_beforehand_changes_nothing(seed):
    flat, weights = points_of(8, seed), weights_of(8, seed)
    flat[3] *= 40.0
    clip = robust.module_clip(flat.norm(dim=1)[:, None], weights)
    whole = merged(robust.robust, flat, weights)
    assert gap(merged(robust.robust, flat * clip, weights), whole) < 1e-9


def test_multi_krum_chooses_by_heads_and_averages_by_weight():
    flat, weights = points_of(9), weights_of(9)
    found = krum.multi_krum(flat @ flat.T, weights, hostile=2)
    kept = found > 0.0
    assert int(kept.sum()) == 7
    assert gap(found[kept], weights[kept] / weights[kept].sum()) < 1e-12


def test_monnas_pivot_is_the_most_trusted_and_of_several_the_most_central():
    flat, weights = points_of(7), torch.ones(7).double()
    flat[2] *= 9.0
    inner = flat @ flat.T
    central = int((flat[:, None] - flat).norm(dim=2).sum(dim=1).argmin())
    assert central != 2
    assert torch.equal(robust.monna(inner, weights), robust.monna(inner, weights, own=central))
    weights[2] = 1.5
    assert torch.equal(robust.monna(inner, weights), robust.monna(inner, weights, own=2))


def test_more_hostile_trust_than_phi_is_not_survived():
    flat, weights = hostile_points(0, 0.4, 1.0)
    centre = flat[:9].mean(dim=0)
    assert gap(merged(robust.robust, flat, weights, phi=0.45), centre) < 0.15
    assert gap(merged(robust.robust, flat, weights, phi=0.05), centre) > 0.2


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_zero_patches_alone_merge_to_zero_and_never_to_nan(rule):
    assert bool(rule(torch.zeros(4, 4).double(), torch.ones(4).double()).isfinite().all())


def test_a_norm_hidden_in_one_module_is_clipped_there_and_nowhere_else():
    lengths = torch.rand(8, 224, generator=torch.Generator().manual_seed(0)).double() * 0.1 + 1.0
    lengths[3, 100] *= 10.0
    lengths[:5, 7] = 0.0  # a module that three patches touch, one of them loudly
    lengths[7, 7] *= 10.0
    lengths[:, 8] = 0.0
    clip = robust.module_clip(lengths, torch.ones(8).double())
    assert float(clip[3, 100]) < 0.11
    assert float(clip[7, 7]) < 0.11
    assert 1.1 < float(lengths[3].norm() / lengths[2].norm()) < 1.3  # the whole hardly shows it
    assert bool((lengths * clip <= 1.1).all())
    clip[3, 100] = clip[7, 7] = 1.0
    assert float(clip.min()) > 0.9
    assert float(clip.max()) == 1.0


def test_a_loud_crowd_without_trust_does_not_move_the_clip():
    lengths = torch.tensor([[1.0], [1.0], [1.0], *[[50.0]] * 30]).double()
    weights = torch.tensor([1.0, 1.0, 1.0, *[0.09] * 30]).double()  # 2.7 of 5.7
    clip = robust.module_clip(lengths, weights)
    assert clip[:3].tolist() == [[1.0]] * 3
    assert float(clip[3]) == pytest.approx(1 / 50)


REFUSED = {
    "phi of a half": (robust.robust, {"phi": 0.5}, "phi 0.5"),
    "phi below 0": (robust.nnm, {"phi": -0.1}, "phi -0.1"),
    "half hostile": (krum.krum, {"hostile": 2}, "2 of 4"),
    "negative count": (krum.multi_krum, {"hostile": -1}, "-1 of 4"),
    "own is not there": (robust.monna, {"own": 4}, "own patch 4"),
    "no radius": (robust.centred_clip, {"radius": 0.0}, "radius 0"),
}


@pytest.mark.parametrize(("rule", "params", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_setting_out_of_range_is_refused(rule, params, says):
    with pytest.raises(MergeError, match=says):
        rule(torch.eye(4).double(), torch.ones(4).double(), **params)
