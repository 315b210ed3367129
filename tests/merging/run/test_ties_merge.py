"""TIES through the front door: what its paper says, entry by entry, at full and at low rank."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.recipe import MergeRecipe
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
    """TIES with loops, from the text of algorithm 1 (arXiv:2306.01708); weighted as mergekit."""
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
    return out


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
@given(st.lists(st.floats(0.05, 2.0), min_size=1, max_size=4), st.sampled_from([0.01, 0.2, 0.9, 1]))
def test_it_is_the_reference_at_every_density_and_weight(made, weights, density):
    adapters = [made(n, shapes={Q: SHAPE}) for n in range(len(weights))]
    merged = merge(adapters, method="ties", weights=weights, density=density, rank=SHAPE[1])
    weights = MergeRecipe(weights=tuple(weights)).weights  # as a recipe keeps them
    expected = reference([each.delta(Q).numpy() for each in adapters], weights, density)
    assert np.allclose(merged.delta(Q).numpy(), expected, atol=2e-5 * np.abs(expected).max())


def test_each_source_may_have_its_own_density(made):
    one, two = made(1), made(2)
    both = merge([one, two], method="ties", density=[1.0, 0.001], rank=24)
    kept = one.delta(Q).sign() * both.delta(Q) > 0
    assert float(kept.float().mean()) > 0.99


def test_the_default_density_is_the_papers(made):
    adapters = [made(n) for n in range(3)]
    implied = merge(adapters, method="ties")
    assert implied.to_bytes() == merge(adapters, method="ties", density=0.2).to_bytes()


def test_near_cancelling_weights_do_not_blow_up(made):
    adapters = [made(1), made(2)]  # mergekit 0.1.5: 1455 x the largest input
    merged = merge(
        adapters, method="ties", weights=[1.0, -0.999], rank=24, density=0.5, normalize=False,
        allow_negative=True,
    )  # fmt: skip
    largest = max(float(each.delta(Q).abs().max()) for each in adapters)
    assert float(merged.delta(Q).abs().max()) <= 1.999 * largest * (1 + 1e-4)


def test_its_loss_at_rank_r_is_reported_and_near_the_optimum(made):
    adapters = [made(n, 8, shapes={Q: (150, 130)}) for n in range(5)]
    merged, report = merge(adapters, "ties", report=True)
    expected = reference([each.delta(Q).numpy() for each in adapters], [0.2] * 5, 0.2)
    values = np.linalg.svd(expected, compute_uv=False)
    optimal = np.linalg.norm(values[8:]) / np.linalg.norm(values)
    distance = np.linalg.norm(merged.delta(Q).numpy() - expected)
    assert report.errors[Q] == pytest.approx(distance / np.linalg.norm(expected), rel=1e-3)
    assert 0.3 < optimal <= report.errors[Q] <= 1.01 * optimal
