"""The linear merge is the weighted sum of deltas, whatever the factors look like."""

import copy
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging.errors import MergeError
from hivelearn.merging.merge import merge
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
    merged = merge(adapters, method="task_arithmetic", weights=weights, rank="stack")
    assert merged.rank == sum(rank for rank, *_ in rows)
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


def test_the_mean_divides_by_the_weights_and_the_sum_does_not(made):
    adapter = made(1)
    mean = merge([adapter, adapter], weights=[0.2, 0.4])
    assert gap(mean.delta(Q), adapter.delta(Q).double()) < 1e-5
    total = merge([adapter, adapter], method="task_arithmetic", weights=[0.2, 0.4], lam=2)
    assert gap(total.delta(Q), 1.2 * adapter.delta(Q).double()) < 1e-5


def test_trust_is_never_renormalised_what_it_withholds_stays_where_it_was(made, truth):
    adapters = [made(n) for n in range(3)]
    merged = merge(adapters, weights=[1, 1, 2], trust=[1.0, 0.5, 0.1], rank=12)
    assert gap(merged.delta(Q), truth(adapters, [0.25, 0.125, 0.05], Q)) < 1e-5


def test_nobody_trusted_is_refused(made):
    with pytest.raises(MergeError, match="nobody is trusted"):
        merge([made(1), made(2)], trust=[0.0, 0.0])
    with pytest.raises(MergeError, match="trust"):
        merge([made(1), made(2)], trust=[1.0, 1.5])
    with pytest.raises(MergeError, match="trust"):
        merge([made(1), made(2)], trust=[1.0])


@SOME
@given(st.permutations(range(5)))
def test_order_of_the_sources_does_not_change_a_bit(made, order):
    adapters, weights = [made(n) for n in range(5)], [0.1, 0.2, 0.3, 0.25, 0.15]
    straight = merge(adapters, weights=weights)
    shuffled = merge([adapters[n] for n in order], weights=[weights[n] for n in order])
    assert straight.to_bytes() == shuffled.to_bytes()


def test_order_of_copies_that_are_trusted_differently_does_not_change_a_bit(made):
    copies, trust = [made(0), made(0), made(1)], [0.3, 0.9, 0.5]
    straight = merge(copies, trust=trust, rank="stack")
    swapped = merge(copies, trust=[0.9, 0.3, 0.5], rank="stack")
    assert straight.to_bytes() == swapped.to_bytes()


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
    assert set(merge([narrow, made(2)], trust=[1.0, 0.0]).factors) == {Q}


def test_the_report_tells_what_recompression_cost(made, truth):
    adapters = [made(n) for n in range(5)]
    _, report = merge(adapters, rank=3, report=True, study=False)
    dense = truth(adapters, [0.2] * 5, Q)
    values = torch.linalg.svdvals(dense)
    assert report.errors[Q] == pytest.approx(float(values[3:].norm() / values.norm()), rel=1e-3)
    assert 0 < report.error < 1
    assert report.rank == 3


def test_the_report_tells_no_loss_where_there_is_none(made):
    _, report = merge([made(1), made(2)], rank=8, report=True)
    assert report.error == 0.0
    assert str(report).startswith("linear: rank 8, 2 modules, 0.0% lost to recompression")


def test_zero_deltas_merge_to_zero_without_a_nan():
    nothing = Adapter({Q: (torch.ones(4, 24), torch.zeros(20, 4))}, 4, 4.0)
    merged, report = merge([nothing, copy.deepcopy(nothing)], rank=2, report=True)
    assert not merged.delta(Q).any()
    assert report.error == 0.0


def test_negative_weights_subtract_when_asked_for(made, truth):
    adapters = [made(1), made(2)]
    negative = {"weights": [1.0, -0.5], "rank": 8, "allow_negative": True}
    merged = merge(adapters, method="task_arithmetic", **negative)
    assert gap(merged.delta(Q), truth(adapters, [1.0, -0.5], Q)) < 1e-5
    mean = merge(adapters, **negative)
    assert gap(mean.delta(Q), truth(adapters, [2.0, -1.0], Q)) < 1e-5


def test_weights_that_nearly_cancel_are_refused_where_their_sum_divides(made):
    adapters = [made(1), made(2)]
    with pytest.raises(MergeError, match="cancel") as caught:
        merge(adapters, weights=[1.0, -0.999], allow_negative=True)
    assert "task_arithmetic" in caught.value.remedy


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
