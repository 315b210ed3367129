"""TIES does what its paper says, entry by entry, and blows up under no weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging import sparse
from hivelearn.merging.lowrank import truncate_rows
from hivelearn.merging.merge import combine, merge
from hivelearn.merging.plan import MergeRecipe
from hivelearn.patch.adapter import Adapter

Q = "model.layers.0.self_attn.q_proj"
SHAPE = (20, 24)
SOME = settings(max_examples=25, deadline=None, derandomize=True)


def as_adapter(delta):
    """An adapter whose delta is exactly ``delta``: A is the identity."""
    matrix = torch.tensor(delta, dtype=torch.float32)
    size = matrix.shape[1]
    return Adapter({Q: (torch.eye(size), matrix)}, size, float(size))


def reference(deltas, weights, density):
    """TIES with loops, from the text of algorithm 1 (arXiv:2306.01708), λ = Σ weights."""
    trimmed = []
    for delta in deltas:
        keep = max(1, int(density * delta.size))
        limit = np.sort(np.abs(delta), axis=None)[-keep]
        trimmed.append(np.where(np.abs(delta) >= limit, delta, 0.0))
    out = np.zeros_like(deltas[0], dtype=np.float64)
    for place in np.ndindex(out.shape):
        values = [(weight, each[place]) for weight, each in zip(weights, trimmed, strict=True)]
        sign = 1.0 if sum(weight * value for weight, value in values) >= 0 else -1.0
        agreeing = [(weight, value) for weight, value in values if value * sign > 0]
        if agreeing:
            mass = sum(weight for weight, _ in agreeing)
            out[place] = sum(weight * value for weight, value in agreeing) / mass
    return sum(weights) * out


def test_the_example_worked_by_hand():
    # density 1/2 of six entries: three stay in each
    first = [[4.0, -1.0, 0.5], [-3.0, 0.1, 2.0]]  # stay: 4, -3, 2
    second = [[-1.0, -5.0, 0.2], [-1.5, 0.3, 0.9]]  # stay: -1, -5, -1.5
    third = [[1.0, 3.0, -0.1], [0.2, 0.4, -6.0]]  # stay: 1, 3, -6
    # votes: 4-1+1 > 0, -5+3 < 0, 0, -3-1.5 < 0, 0, 2-6 < 0
    expected = [[2.5, -5.0, 0.0], [-2.25, 0.0, -6.0]]
    merged = merge([as_adapter(d) for d in (first, second, third)], method="ties", density=0.5)
    torch.testing.assert_close(merged.delta(Q), torch.tensor(expected), atol=1e-5, rtol=1e-5)


@SOME
@given(
    st.lists(st.floats(0.05, 2.0), min_size=1, max_size=4),
    st.sampled_from([0.01, 0.2, 0.5, 0.9, 1.0]),
    st.integers(1, 7),
)
def test_it_is_the_reference_at_every_density_weight_and_block_height(made, weights, density, rows):
    adapters = [made(n, shapes={Q: SHAPE}) for n in range(len(weights))]
    blocks = sparse.BLOCK_ELEMENTS
    try:
        sparse.BLOCK_ELEMENTS = rows * len(weights) * SHAPE[1]
        merged = merge(adapters, method="ties", weights=weights, density=density, rank=SHAPE[1])
    finally:
        sparse.BLOCK_ELEMENTS = blocks
    expected = reference([each.delta(Q).numpy() for each in adapters], weights, density)
    assert np.allclose(merged.delta(Q).numpy(), expected, atol=2e-5 * np.abs(expected).max())


def test_the_default_density_is_the_papers(made):
    adapters = [made(n) for n in range(3)]
    implied = merge(adapters, method="ties")
    assert implied.to_bytes() == merge(adapters, method="ties", density=0.2).to_bytes()


def test_density_one_of_one_adapter_is_that_adapter(made):
    merged = merge([made(1)], method="ties", density=1.0)
    torch.testing.assert_close(merged.delta(Q), made(1).delta(Q), atol=1e-4, rtol=1e-4)


@SOME
@given(st.permutations(range(4)))
def test_order_of_the_sources_does_not_change_a_bit(made, order):
    adapters, weights = [made(n) for n in range(4)], [0.1, 0.2, 0.3, 0.4]
    straight = merge(adapters, method="ties", weights=weights)
    shuffled = merge(
        [adapters[n] for n in order], method="ties", weights=[weights[n] for n in order]
    )
    assert straight.to_bytes() == shuffled.to_bytes()


def test_half_the_weight_moves_half_as_far(made):
    adapters = [made(n) for n in range(3)]
    whole, half = (
        merge(adapters, method="ties", weights=[weight] * 3) for weight in (1 / 3, 1 / 6)
    )
    torch.testing.assert_close(half.delta(Q), whole.delta(Q) / 2, atol=1e-5, rtol=1e-4)


def test_near_cancelling_weights_do_not_blow_up(made):
    adapters = [made(1), made(2)]  # mergekit 0.1.5: 1455 x the largest input
    merged = merge(
        adapters, method="ties", weights=[1.0, -0.999], rank=24, density=0.5, allow_negative=True
    )
    largest = max(float(each.delta(Q).abs().max()) for each in adapters)
    assert float(merged.delta(Q).abs().max()) <= 1.999 * largest * (1 + 1e-4)


def test_a_negative_weight_means_the_negated_delta(made):
    flipped = Adapter({n: (a, -b) for n, (a, b) in made(2).factors.items()}, 4, made(2).alpha)
    negative = merge([made(1), made(2)], method="ties", weights=[0.5, -0.5], allow_negative=True)
    negated = merge([made(1), flipped], method="ties", weights=[0.5, 0.5])
    torch.testing.assert_close(negative.delta(Q), negated.delta(Q), atol=1e-5, rtol=1e-4)


@SOME
@given(st.lists(st.floats(-9, 9, width=32), min_size=6, max_size=6), st.integers(1, 6))
def test_the_threshold_is_the_exact_kth_magnitude_even_with_ties(values, keep):
    part = sparse.Part(torch.eye(3), torch.tensor(values).view(2, 3), 1.0, 1.0)
    limit = sparse.threshold(part, [slice(0, 1), slice(1, 2)], keep)
    kept = sum(abs(value) >= limit for value in values)
    exact = sorted(map(abs, values))[-keep]
    assert kept == sum(abs(value) >= exact for value in values)
    assert limit in ((0.0, exact) if keep == 6 else (exact,))


def test_its_loss_at_rank_r_is_reported_and_near_the_optimum(made):
    shape = (150, 130)
    adapters = [made(n, 8, shapes={Q: shape}) for n in range(5)]
    merged = combine(adapters, MergeRecipe.mean(5, "ties"))
    expected = reference([each.delta(Q).numpy() for each in adapters], [0.2] * 5, 0.2)
    values = np.linalg.svd(expected, compute_uv=False)
    optimal = np.linalg.norm(values[8:]) / np.linalg.norm(values)
    distance = np.linalg.norm(merged.adapter.delta(Q).numpy() - expected)
    assert merged.errors[Q] == pytest.approx(distance / np.linalg.norm(expected), rel=1e-3)
    assert 0.3 < optimal <= merged.errors[Q] <= 1.01 * optimal


def test_blocks_are_bounded_and_made_anew():
    seen = []

    def rows():
        for top in range(0, 90, 30):
            block = torch.arange(top * 8, (top + 30) * 8, dtype=torch.float32).view(30, 8)
            seen.append(len(block))
            yield slice(top, top + 30), block

    made_of = truncate_rows(rows, (90, 8), 2, "test")  # that matrix has rank 2
    dense = torch.arange(720, dtype=torch.float32).view(90, 8)
    torch.testing.assert_close(made_of.b @ made_of.a, dense, atol=0.05, rtol=1e-4)
    assert len(seen) == 4 * 3


def test_memory_is_a_few_blocks_whatever_the_size_of_the_layer(made, largest, monkeypatch):
    side, block = 640, 80_000
    adapters = [made(n, shapes={Q: (side, side)}) for n in range(3)]
    monkeypatch.setattr(sparse, "BLOCK_ELEMENTS", block)
    with largest as seen:
        merge(adapters, method="ties")
    assert block // 2 < seen.numel <= block < side * side // 5
