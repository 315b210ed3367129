"""What holds for every row of the table, or the row is named as an exception with its reason.

All through the front door: adapters in, one adapter out, at full rank, so that
nothing is lost to recompression.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.method_table import TABLE
from hivelearn.patch.adapter import Adapter

SOME = settings(max_examples=10, deadline=None, derandomize=True)
Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"
FULL = 24  # as many as the smaller side of both modules has, and more than any stack needs

PAIRS = {"slerp", "nuslerp"}  # of two
SHARED = {name for name, op in TABLE.items() if op.home.endswith("shared_a")}  # demand one A
# Masks are drawn by the factors' bytes: other factors of the same delta draw others.
DRAWS = {name for name, op in TABLE.items() if op.draws}
# Their own definition changes a delta that is alone: all singular values become one.
NOT_IDENTITY = {"iso_c"}
# Weights do not enter: energies and variances of the deltas themselves do.
UNWEIGHTED = {name for name in TABLE if name.endswith("sce")}
# They count heads, not weight: Krum's neighbours, the stock's pairs, a rank for each task.
CLONES = {"linear", "task_arithmetic", "multislerp", "karcher", "geometric_median"}
CLONES |= {"centred_clip", "nnm", "monna", "robust"}


def neutral(method):
    """Return settings under which nothing is left out and nothing is scaled."""
    names = {param.name for param in TABLE[method].params}
    chosen = {"density": 1.0, "select_topk": 1.0, "normalize": True}
    return {name: value for name, value in chosen.items() if name in names}


def count(method):
    return 2 if method in PAIRS else 4


def sources(made, method, **kwargs):
    """Return adapters of mixed ranks and alphas; of one A where the method demands it."""
    if method not in SHARED:
        return [made(n, 2 + n % 3, alpha=2.0 + n, **kwargs) for n in range(1, 1 + count(method))]
    first = made(1, 3)
    adapters = []
    for n in range(1, 1 + count(method)):
        other = made(n, 3)
        factors = {m: (first.factors[m][0], other.factors[m][1]) for m in first.factors}
        adapters.append(Adapter(factors, 3, 2.0 + n))
    return adapters


def same(one, other, rtol=2e-4):
    for module in (Q, UP):
        expected = other.delta(module)
        gap = (one.delta(module) - expected).norm() / expected.norm().clamp_min(1e-30)
        assert float(gap) < rtol, f"{module}: {gap:.1e}"


def turned(adapter, seed):
    """Return the same deltas as other factors: (B R⁻¹, R A) with R well conditioned."""
    chance = torch.Generator().manual_seed(seed)
    rank = adapter.rank
    turn = torch.linalg.qr(torch.randn(rank, rank, generator=chance).double())[0]
    turn = turn * torch.linspace(0.5, 2.0, rank).double()
    factors = {
        m: ((turn @ a.double()).float(), (b.double() @ torch.linalg.inv(turn)).float())
        for m, (a, b) in adapter.factors.items()
    }
    return Adapter(factors, rank, adapter.alpha)


@pytest.mark.parametrize("method", sorted(set(TABLE) - PAIRS - NOT_IDENTITY))
def test_one_adapter_merges_to_itself(made, method):
    adapter = made(1, alpha=3.0)
    same(merge([adapter], method=method, rank=FULL, **neutral(method)), adapter)


@pytest.mark.parametrize("method", TABLE)
@SOME
@given(st.integers(0, 10_000))
def test_the_order_of_the_sources_does_not_change_a_bit(made, method, seed):
    adapters = sources(made, method)
    weights = [0.1, 0.4, 0.3, 0.2][: len(adapters)]
    order = torch.randperm(len(adapters), generator=torch.Generator().manual_seed(seed)).tolist()
    straight = merge(adapters, method=method, weights=weights)
    shuffled = merge(
        [adapters[n] for n in order], method=method, weights=[weights[n] for n in order]
    )
    assert straight.to_bytes() == shuffled.to_bytes()


def test_adapters_that_begin_alike_are_told_apart_by_all_they_hold(made):
    one = made(1, 6)
    others = []
    for n in range(3):  # they differ in one number, far behind every head
        a, b = one.factors[UP]
        b = b.clone()
        b[30, 2] += 0.1 * (n + 1)
        others.append(Adapter({**one.factors, UP: (a, b)}, 6, one.alpha))
    straight = merge(others, rank=6)
    for order in ((2, 0, 1), (1, 2, 0), (0, 2, 1)):
        assert merge([others[n] for n in order], rank=6).to_bytes() == straight.to_bytes()


@pytest.mark.parametrize("method", sorted(set(TABLE) - DRAWS - SHARED))
@SOME
@given(st.integers(0, 10_000))
def test_other_factors_of_the_same_deltas_merge_to_the_same(made, method, seed):
    adapters = sources(made, method)
    others = [turned(adapter, seed + n) for n, adapter in enumerate(adapters)]
    same(merge(others, method=method, rank=FULL), merge(adapters, method=method, rank=FULL))


@pytest.mark.parametrize("method", sorted(set(TABLE) - DRAWS - SHARED))
def test_a_rank_filled_up_with_zeros_changes_nothing(made, method):
    adapters = sources(made, method)
    wide = [
        Adapter(
            {
                m: (torch.cat([a, torch.zeros(3, a.shape[1])]), torch.nn.functional.pad(b, (0, 3)))
                for m, (a, b) in adapter.factors.items()
            },
            adapter.rank + 3,
            adapter.alpha * (adapter.rank + 3) / adapter.rank,
        )
        for adapter in adapters
    ]
    same(merge(wide, method=method, rank=FULL), merge(adapters, method=method, rank=FULL))


@pytest.mark.parametrize("method", sorted(set(TABLE) - DRAWS))
def test_a_scale_may_stand_in_alpha_or_in_b(made, method):
    adapters = sources(made, method)
    folded = [
        Adapter({m: (a, b * 4) for m, (a, b) in each.factors.items()}, each.rank, each.alpha / 4)
        for each in adapters
    ]
    same(merge(folded, method=method, rank=FULL), merge(adapters, method=method, rank=FULL))


@pytest.mark.parametrize("method", sorted(set(TABLE) - {"iso_c"}))
def test_the_unit_of_the_deltas_does_not_matter(made, method):
    adapters = sources(made, method)
    tiny = [  # in B: alpha is kept in steps of a millionth
        Adapter({m: (a, b / 1024) for m, (a, b) in each.factors.items()}, each.rank, each.alpha)
        for each in adapters
    ]
    large, small = (merge(each, method=method, rank=FULL) for each in (adapters, tiny))
    if method not in DRAWS:
        same(Adapter(small.factors, small.rank, small.alpha * 1024), large)
    assert all(bool(small.delta(m).isfinite().all()) for m in (Q, UP))


@pytest.mark.parametrize("method", sorted(set(TABLE) - PAIRS))
def test_weight_zero_is_absence(made, method):
    adapters = sources(made, method)
    weights = [0.5, 0.0, 0.25, 0.25]
    without = merge(
        [adapters[n] for n in (0, 2, 3)],
        method=method,
        weights=[0.5, 0.25, 0.25],
        rank=FULL,
        seed=3,
    )
    with_it = merge(adapters, method=method, weights=weights, rank=FULL, seed=3)
    same(with_it, without)


@pytest.mark.parametrize("method", sorted(CLONES))
def test_a_patch_split_into_ten_identities_with_a_tenth_of_the_weight_changes_nothing(made, method):
    adapters = sources(made, method)
    whole = merge(adapters, method=method, weights=[0.4, 0.3, 0.2, 0.1], rank=FULL)
    split = merge(
        [*adapters[:3], *([adapters[3]] * 10)],
        method=method,
        weights=[0.4, 0.3, 0.2, *([0.01] * 10)],
        rank=FULL,
    )
    same(split, whole, rtol=1e-5)


@pytest.mark.parametrize("method", ["krum", "multi_krum"])
def test_rules_that_count_heads_are_moved_by_clones(made, method):
    adapters = sources(made, method)
    weights = [0.4, 0.3, 0.2, 0.1]
    whole = merge(adapters, method=method, weights=weights, rank=FULL)
    split = merge(
        [*adapters[:3], *([adapters[3]] * 10)],
        method=method,
        weights=[*weights[:3], *([0.01] * 10)],
        rank=FULL,
    )
    assert float((split.delta(Q) - whole.delta(Q)).norm()) > 0.5 * float(whole.delta(Q).norm())


@pytest.mark.parametrize("method", sorted(set(TABLE) - UNWEIGHTED - {"krum", "model_stock"}))
def test_weights_count(made, method):
    adapters = sources(made, method)
    one = [0.5, 0.2, 0.2, 0.1][: len(adapters)]
    first = merge(adapters, method=method, weights=one, rank=FULL)
    second = merge(adapters, method=method, weights=one[::-1], rank=FULL)
    assert float((first.delta(Q) - second.delta(Q)).norm()) > 1e-3 * float(first.delta(Q).norm())


@pytest.mark.parametrize("method", TABLE)
def test_what_trust_withholds_stays_where_it_was(made, method):
    adapters = sources(made, method)
    whole = merge(adapters, method=method, rank=FULL)
    half = merge(adapters, method=method, rank=FULL, trust=[0.5] * len(adapters))
    same(Adapter(half.factors, half.rank, 2 * half.alpha), whole)


@pytest.mark.parametrize("method", sorted(set(TABLE) - PAIRS))
def test_what_is_withheld_from_one_is_not_given_to_the_others(made, method):
    adapters = sources(made, method)
    alone = merge(adapters[1:], method=method, rank=FULL)
    merged = merge(adapters, method=method, rank=FULL, trust=[0.0, 1.0, 1.0, 1.0])
    normalizes = TABLE[method].normalizes or any(
        param.name == "normalize" and param.default for param in TABLE[method].params
    )
    share = 0.75 if normalizes else 1.0
    same(merged, Adapter(alone.factors, alone.rank, share * alone.alpha))


@pytest.mark.parametrize("method", sorted(set(TABLE) - PAIRS))
def test_who_has_no_trust_is_never_even_read(made, method):
    adapters = sources(made, method)
    a, b = adapters[0].factors[Q]
    broken = Adapter({**adapters[0].factors, Q: (a * torch.nan, b)}, adapters[0].rank, 2.0)
    merged = merge([broken, *adapters[1:]], method=method, trust=[0.0, 1.0, 1.0, 1.0])
    assert all(bool(merged.delta(m).isfinite().all()) for m in merged.factors)


ENTRYWISE = sorted(
    name
    for name, op in TABLE.items()
    if any(p.name in ("normalize", "select_topk") for p in op.params)
)


@pytest.mark.parametrize("method", ENTRYWISE)
def test_a_negative_weight_is_the_negated_delta_also_where_all_are_negative(made, method):
    adapters = sources(made, method)
    settings = {"rank": FULL, "allow_negative": True, **neutral(method)}
    plus = merge(adapters, method=method, weights=[1, 2, 1, 1], **settings)
    minus = merge(adapters, method=method, weights=[-1, -2, -1, -1], **settings)
    same(minus, Adapter({m: (a, -b) for m, (a, b) in plus.factors.items()}, plus.rank, plus.alpha))


@pytest.mark.parametrize("method", sorted(DRAWS))
def test_chance_is_the_recipes_and_the_patches_own(made, method):
    adapters = sources(made, method)
    torch.manual_seed(1)
    first = merge(adapters, method=method, seed=5)
    torch.manual_seed(2)
    assert merge(adapters, method=method, seed=5).to_bytes() == first.to_bytes()
    assert merge(adapters, method=method, seed=6).to_bytes() != first.to_bytes()


@pytest.mark.parametrize(
    "method", ["linear", "task_arithmetic", "magnitude_prune", "core_magnitude_prune", "iso_c"]
)
def test_a_delta_and_its_negation_merge_to_nothing(made, method):
    one = made(1)
    against = Adapter({m: (a, -b) for m, (a, b) in one.factors.items()}, one.rank, one.alpha)
    merged = merge([one, against], method=method)
    for module in one.factors:
        assert float(merged.delta(module).norm()) < 1e-6 * float(one.delta(module).norm())
