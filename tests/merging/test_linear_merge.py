"""The linear merge is the weighted sum of deltas, whatever the factors look like."""

import copy
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging import lowrank
from hivelearn.merging.merge import combine, merge
from hivelearn.merging.plan import MergeRecipe
from hivelearn.patch.adapter import Adapter

Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"
SOME = settings(max_examples=25, deadline=None, derandomize=True)
WEIGHTS = st.floats(0.01, 3.0, allow_nan=False)


def gap(merged, expected):
    """Relative Frobenius distance of one module to a dense float64 matrix."""
    return float((merged.double() - expected).norm() / expected.norm().clamp_min(1e-30))


@SOME
@given(
    st.lists(st.tuples(st.integers(1, 6), st.floats(0.5, 64.0), WEIGHTS), min_size=1, max_size=5)
)
def test_mixed_ranks_alphas_and_weights_give_the_dense_sum(made, truth, rows):
    adapters = [made(n, rank, alpha=alpha) for n, (rank, alpha, _) in enumerate(rows)]
    weights = [weight for *_, weight in rows]
    merged = merge(adapters, weights=weights, rank=sum(rank for rank, *_ in rows))
    for module in (Q, UP):
        assert gap(merged.delta(module), truth(adapters, weights, module)) < 1e-5


def test_without_weights_it_is_the_plain_mean(made, truth):
    adapters = [made(n) for n in range(3)]
    merged = merge(adapters, rank=12)
    assert gap(merged.delta(Q), truth(adapters, [1 / 3] * 3, Q)) < 1e-5


@pytest.mark.parametrize("rank", [None, 4, 7])
def test_one_adapter_merges_to_itself(made, rank):
    adapter = made(1, alpha=3.0)
    merged = merge([adapter], rank=rank)
    assert gap(merged.delta(UP), adapter.delta(UP).double()) < 1e-6
    assert (merged.rank, merged.alpha) == (rank or 4, float(rank or 4))


def test_weights_are_absolute_and_never_renormalised(made):
    adapter = made(1)
    merged = merge([adapter, adapter], weights=[0.2, 0.4])
    assert gap(merged.delta(Q), 0.6 * adapter.delta(Q).double()) < 1e-5


@SOME
@given(st.permutations(range(5)))
def test_order_of_the_sources_does_not_change_a_bit(made, order):
    adapters, weights = [made(n) for n in range(5)], [0.1, 0.2, 0.3, 0.25, 0.15]
    straight = merge(adapters, weights=weights)
    shuffled = merge([adapters[n] for n in order], weights=[weights[n] for n in order])
    assert straight.to_bytes() == shuffled.to_bytes()


@SOME
@given(st.floats(1e-3, 1e3))
def test_a_scaled_alpha_scales_the_merge(made, factor):
    adapters = [made(n) for n in range(3)]
    scaled = [Adapter(each.factors, each.rank, each.alpha * factor) for each in adapters]
    assert gap(merge(scaled).delta(Q), factor * merge(adapters).delta(Q).double()) < 1e-5


@SOME
@given(st.integers(0, 10_000))
def test_other_factors_of_the_same_delta_merge_to_the_same(made, seed):
    adapters = [made(n) for n in range(3)]
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(seed)))[0]
    turned = {name: (turn @ a, b @ turn.T) for name, (a, b) in adapters[1].factors.items()}
    twins = [adapters[0], Adapter(turned, 4, adapters[1].alpha), adapters[2]]
    assert gap(merge(twins).delta(Q), merge(adapters).delta(Q).double()) < 1e-4


def test_a_sign_flipped_twin_does_not_cancel(made):
    adapter = made(1)  # averaging A and B apart gives 0 here
    twin = Adapter({name: (-a, -b) for name, (a, b) in adapter.factors.items()}, 4, adapter.alpha)
    assert gap(merge([adapter, twin]).delta(Q), adapter.delta(Q).double()) < 1e-5


def test_a_module_that_one_lacks_counts_as_unchanged_by_it(made, truth):
    narrow = made(1, shapes={Q: (20, 24)})
    merged = merge([narrow, made(2)], rank=8)
    assert gap(merged.delta(Q), truth([narrow, made(2)], [0.5, 0.5], Q)) < 1e-5
    assert gap(merged.delta(UP), 0.5 * made(2).delta(UP).double()) < 1e-5


def test_weight_zero_leaves_an_adapter_and_its_modules_out(made):
    narrow = made(1, shapes={Q: (20, 24)})
    assert set(merge([narrow, made(2)], weights=[1, 0]).factors) == {Q}


@pytest.mark.parametrize("core_max", [256, 8], ids=["exact core", "sketch"])
@pytest.mark.parametrize("shared", [0.0, 0.7], ids=["independent", "correlated"])
def test_recompression_is_within_one_percent_of_the_optimum(monkeypatch, core_max, shared):
    monkeypatch.setattr(lowrank, "CORE_MAX", core_max)
    chance = torch.Generator().manual_seed(5)
    common_a, common_b = (
        torch.randn(8, 300, generator=chance),
        torch.randn(200, 8, generator=chance),
    )
    adapters = []
    for _ in range(12):
        a = shared * common_a + (1 - shared) * torch.randn(8, 300, generator=chance)
        b = shared * common_b + (1 - shared) * torch.randn(200, 8, generator=chance)
        adapters.append(Adapter({Q: (a, b)}, 8, 8.0))
    merged = combine(adapters, MergeRecipe.mean(12))
    dense = (
        sum(
            each.scale * (b.double() @ a.double())
            for each in adapters
            for a, b in [each.factors[Q]]
        )
        / 12
    )
    values = torch.linalg.svdvals(dense)
    optimal = float(values[8:].norm() / values.norm())
    measured = gap(merged.adapter.delta(Q), dense)
    assert measured <= 1.01 * optimal
    assert merged.errors[Q] == pytest.approx(measured, rel=1e-3)
    assert merged.error == pytest.approx(measured, rel=1e-3)


def test_the_report_tells_no_loss_where_there_is_none(made):
    merged = combine([made(1), made(2)], MergeRecipe.mean(2, rank=8))
    assert merged.error == 0.0
    assert str(merged) == "rank 8, 2 modules, 0.0% lost to recompression"


def test_zero_deltas_merge_to_zero_without_a_nan():
    nothing = Adapter({Q: (torch.ones(4, 24), torch.zeros(20, 4))}, 4, 4.0)
    merged = combine([nothing, copy.deepcopy(nothing)], MergeRecipe.mean(2, rank=2))
    assert not merged.adapter.delta(Q).any()
    assert merged.error == 0.0


def test_negative_weights_subtract_when_asked_for(made, truth):
    adapters = [made(1), made(2)]
    merged = merge(adapters, weights=[1.0, -0.5], rank=8, allow_negative=True)
    assert gap(merged.delta(Q), truth(adapters, [1.0, -0.5], Q)) < 1e-5


def test_bfloat16_inputs_are_summed_in_float32(made, truth):
    adapters = [made(n, dtype=torch.bfloat16) for n in range(3)]
    merged = merge(adapters, rank=12)
    assert merged.dtype == "F32"
    assert gap(merged.delta(Q), truth(adapters, [1 / 3] * 3, Q)) < 1e-5


def test_patches_and_peft_folders_merge_like_adapters(made, tmp_path):
    first, second, third = made(1), made(2), made(3)
    folder = second.save(tmp_path / "second")
    merged = merge([SimpleNamespace(adapter=first), folder, str(third.save(tmp_path / "third"))])
    assert merged.to_bytes() == merge([first, second, third]).to_bytes()


def test_the_result_names_a_base_only_if_every_source_does(made):
    known, unknown = made(1, base=b"b" * 32), made(2)
    assert merge([known, made(3, base=b"b" * 32)]).base == b"b" * 32
    assert merge([known, unknown]).base is None


def test_neither_global_randomness_nor_gradients_leak_in(made, monkeypatch):
    monkeypatch.setattr(lowrank, "CORE_MAX", 2)
    adapters = [made(n, rank=6) for n in range(4)]
    torch.manual_seed(1)
    first, state = merge(adapters, rank=2), torch.get_rng_state()
    torch.manual_seed(2)
    assert merge(adapters, rank=2).to_bytes() == first.to_bytes()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.factors[Q][0].requires_grad


@pytest.mark.parametrize("core_max", [256, 8], ids=["exact core", "sketch"])
def test_nothing_of_the_size_of_the_weight_is_formed(made, largest, monkeypatch, core_max):
    monkeypatch.setattr(lowrank, "CORE_MAX", core_max)
    side, rank, count = 640, 4, 6
    adapters = [made(n, rank, shapes={Q: (side, side)}) for n in range(count)]
    with largest as seen:
        merge(adapters)
    assert side * rank <= seen.numel <= side * (rank * count + 16) < side * side // 10
