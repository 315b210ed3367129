"""Entrywise merges of a few numbers, worked by hand or by the text of the paper."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging.deltas import DenseDeltas
from hivelearn.merging.recipe.method_table import operator

SOME = settings(max_examples=25, deadline=None, derandomize=True)
KEYS = [bytes([n]) * 32 for n in range(5)]


def merged(name, deltas, weights, **given):
    each = ("density", "gamma", "epsilon")
    read = {
        key: torch.tensor([value] * len(deltas)) if key in each else value
        for key, value in given.items()
    }
    rows = operator(name).load()(DenseDeltas(deltas), torch.tensor(weights), read, KEYS)
    return torch.cat([block for _, block in rows()])


def test_ties_worked_by_hand():
    # density 1/2 of six entries: three stay in each
    first = torch.tensor([[4.0, -1.0, 0.5], [-3.0, 0.1, 2.0]])  # stay: 4, -3, 2
    second = torch.tensor([[-1.0, -5.0, 0.2], [-1.5, 0.3, 0.9]])  # stay: -1, -5, -1.5
    third = torch.tensor([[1.0, 3.0, -0.1], [0.2, 0.4, -6.0]])  # stay: 1, 3, -6
    # votes: 4-1+1 > 0, -5+3 < 0, 0, -3-1.5 < 0, 0, 2-6 < 0
    expected = torch.tensor([[2.5, -5.0, 0.0], [-2.25, 0.0, -6.0]])
    out = merged("ties", [first, second, third], [1.0] * 3, density=0.5)
    torch.testing.assert_close(out, expected)


def reference(deltas, weights, density):
    """TIES with loops and float64, from the text of algorithm 1 (arXiv:2306.01708)."""
    trimmed = []
    for delta in deltas:
        limit = np.sort(np.abs(delta), axis=None)[-max(1, int(density * delta.size))]
        trimmed.append(np.where(np.abs(delta) >= limit, delta, 0.0))
    out = np.zeros(deltas[0].shape)
    for place in np.ndindex(out.shape):
        values = [(weight, each[place]) for weight, each in zip(weights, trimmed, strict=True)]
        sign = 1.0 if sum(weight * value for weight, value in values) >= 0 else -1.0
        agreeing = [(weight, value) for weight, value in values if value * sign > 0]
        if agreeing:
            mass = sum(weight for weight, _ in agreeing)
            out[place] = sum(weight * value for weight, value in agreeing) / mass
    return out


@SOME
@given(
    st.lists(st.sampled_from([1e-3, 0.25, 1.0, 1e3]), min_size=1, max_size=5),
    st.sampled_from([0.01, 0.2, 0.5, 0.9, 1.0]),
    st.integers(0, 99),
)
def test_ties_is_its_papers_text_however_far_apart_the_weights(weights, density, seed):
    chance = np.random.default_rng(seed)
    deltas = [chance.standard_normal((9, 7)).astype(np.float32) for _ in weights]
    out = merged("ties", [torch.from_numpy(d) for d in deltas], weights, density=density)
    np.testing.assert_allclose(out, reference(deltas, weights, density), rtol=1e-5, atol=1e-6)


def test_a_draw_is_won_by_plus():
    ones = torch.ones(1, 2)
    assert merged("ties", [ones, -ones], [0.5, 0.5], density=1.0).tolist() == [[1.0, 1.0]]


def test_entries_equal_to_the_threshold_all_stay():
    delta = torch.tensor([[5.0, -2.0, 2.0], [2.0, 1.0, -5.0]])
    assert merged("ties", [delta], [1.0], density=0.5).count_nonzero() == 5
    trimmed = merged("breadcrumbs", [delta], [1.0], density=0.34, gamma=0.34)  # ranks 3 and 4
    assert trimmed.tolist() == [[0.0, -2.0, 2.0], [2.0, 0.0, 0.0]]
    assert torch.equal(merged("ties", [torch.zeros(2, 2)], [1.0], density=0.4), torch.zeros(2, 2))


def test_a_density_counts_as_the_decimal_it_was_written_as():
    """float32(.7) is a little less than .7; seven of ten entries stay, as in mergekit."""
    delta = torch.arange(1.0, 11.0).view(2, 5)
    assert merged("ties", [delta], [1.0], density=0.7).count_nonzero() == 7


@pytest.mark.parametrize(
    ("row", "probabilities"),
    [
        ([0.5, -3.0, 1.0, 2.0, -2.0], [0.3, 0.7, 0.4, 0.5, 0.6]),  # of equals the later column
        ([1.0, -4.0], [0.3, 0.7]),
        ([5.0], [0.5]),
    ],
)
def test_della_divides_by_a_probability_that_rises_with_the_rank_in_the_row(row, probabilities):
    out = merged("della_linear", [torch.tensor([row] * 500)], [1.0], density=0.5, epsilon=0.2)
    for column, probability in enumerate(probabilities):
        kept = out[:, column][out[:, column] != 0]
        torch.testing.assert_close(kept, torch.full_like(kept, row[column] / probability))
        assert abs(len(kept) / 500 - probability) < 4 * 0.5 / 500**0.5


def test_sce_of_deltas_that_do_not_differ_keeps_everything():
    delta = torch.randn(9, 7, generator=torch.Generator().manual_seed(7))
    for count in (1, 3):  # mergekit gives zeros
        out = merged("sce", [delta] * count, [0.7] * count, select_topk=0.1)
        torch.testing.assert_close(out, delta)


def test_sce_weighs_small_deltas_by_energy_too():
    one, two = torch.full((2, 2), 1e-4), torch.full((2, 2), 3e-4)  # mergekit: their mean, 2e-4
    out = merged("sce", [one, two], [1.0, 1.0], select_topk=1.0)
    torch.testing.assert_close(out, torch.full((2, 2), 1e-4 * 0.1 + 3e-4 * 0.9))


def test_sce_counts_a_delta_by_its_weight_in_vote_and_share():
    one = torch.ones(1, 1)
    out = merged("sce", [2 * one, 4 * one], [3.0, 1.0], select_topk=1.0)
    torch.testing.assert_close(out, one * (3 * 4 * 2 + 1 * 16 * 4) / (3 * 4 + 1 * 16))
    assert merged("sce", [one, -2 * one], [3.0, 1.0], select_topk=1.0).tolist() == [[1.0]]


@pytest.mark.parametrize("name", ["ties", "dare_ties", "della", "breadcrumbs", "sce"])
def test_adapters_never_trained_merge_to_nothing(name):
    nothing = [torch.zeros(9, 7)] * 2
    for rescale in ("none", "l1"):
        given = {"gamma": 0.1, "epsilon": 0.1, "density": 0.5, "select_topk": 0.5}
        out = merged(name, nothing, [1.0, 1.0], rescale=rescale, **given)
        assert torch.equal(out, nothing[0])


def test_entries_near_the_end_of_float32_are_no_overflow():
    huge = torch.full((9, 7), 3e38)
    assert torch.equal(merged("ties", [huge, huge], [0.5, 0.5], density=0.5), huge)
