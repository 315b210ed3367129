"""Inner products and distances from factors are those of the dense deltas, to the last digits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging.deltas import LoraDelta
from hivelearn.merging.errors import MergeError
from hivelearn.merging.methods.gram import distances, gram, norms

SOME = settings(max_examples=25, deadline=None, derandomize=True)
RANKS = st.lists(st.integers(0, 6), min_size=1, max_size=6)
SHAPE = (20, 24)  # (d_out, d_in)


def parts_of(ranks, seed=0, *, shape=SHAPE, dtype=torch.float32):
    chance = torch.Generator().manual_seed(seed)
    scales = (torch.rand(len(ranks), generator=chance) * 4 - 2).tolist()
    return [
        LoraDelta(
            torch.randn(rank, shape[1], generator=chance).to(dtype),
            torch.randn(shape[0], rank, generator=chance).to(dtype),
            scale,
            weight=3.0,  # never applied
        )
        for rank, scale in zip(ranks, scales, strict=True)
    ]


def dense(parts):
    """(n, d_out · d_in) float64, the definition."""
    return torch.stack([p.scale * (p.b.double() @ p.a.double()).flatten() for p in parts])


def gap(found, expected, size):
    return float((found - expected).abs().max()) / max(float(size), 1e-300)


@SOME
@given(RANKS, st.integers(0, 99), st.sampled_from([torch.float32, torch.bfloat16]))
def test_it_is_the_gram_matrix_of_the_dense_deltas(ranks, seed, dtype):
    parts = parts_of(ranks, seed, dtype=dtype)
    flat = dense(parts)
    found = gram(parts)
    assert found.dtype == torch.float64
    assert torch.equal(found, found.T)
    assert gap(found, flat @ flat.T, flat.square().sum()) < 1e-13
    assert gap(norms(found), flat.norm(dim=1), flat.norm()) < 1e-13
    assert torch.equal(distances(found).diagonal(), torch.zeros(len(ranks)).double())


@SOME
@given(RANKS, st.integers(0, 99))
def test_other_factors_of_the_same_deltas_have_the_same_gram_matrix(ranks, seed):
    parts = parts_of(ranks, seed, dtype=torch.float64)
    chance = torch.Generator().manual_seed(seed)
    turned = []
    for part in parts:
        rank = part.a.shape[0]
        mix = torch.eye(rank).double() * 3 + torch.randn(rank, rank, generator=chance).double()
        turned.append(LoraDelta(mix @ part.a, part.b @ torch.linalg.inv(mix), part.scale, 1.0))
    assert gap(gram(turned), gram(parts), gram(parts).diagonal().sum()) < 1e-9


@SOME
@given(st.floats(1e-3, 1e3), st.floats(-8.0, 8.0))
def test_a_scale_may_lie_in_either_factor_or_apart(factor, scale):
    one = parts_of([3, 5], dtype=torch.float64)
    plain = [LoraDelta(p.a, p.b, scale * factor, 1.0) for p in one]
    folded = [LoraDelta(p.a * factor, p.b * scale, 1.0, 1.0) for p in one]
    assert gap(gram(folded), gram(plain), gram(plain).diagonal().sum()) < 1e-12


@pytest.mark.parametrize("ranks", [[5, 2, 9, 1], [20, 0, 3], [64]])
def test_a_layer_wider_than_one_block_is_summed_over_its_blocks(ranks):
    parts = parts_of(ranks, shape=(3, 40_000))  # at R = 17 a block has 31,000 columns
    flat = dense(parts)
    # 120,000 products are summed in another order on every kind of CPU, in the reference as well.
    assert gap(gram(parts), flat @ flat.T, flat.square().sum()) < 1e-12


def test_nothing_of_the_size_of_the_layer_is_ever_formed(largest):
    parts = parts_of([4, 4, 4], shape=(1024, 1024))
    with largest:
        gram(parts)
    assert largest.numel <= 12 * 1024


@pytest.mark.parametrize("eps", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("loud", [1.0, 1e4])
def test_distances_survive_what_the_patches_have_in_common(eps, loud):
    """Float32 is off by 5e-2 at eps 1e-3; telescoping about part 0 fails if that one is loud."""
    chance = torch.Generator().manual_seed(1)
    shared = parts_of([4], shape=(64, 80))[0]
    parts = [LoraDelta(shared.a, -shared.b, loud, 1.0)]
    for _ in range(5):
        b = shared.b + eps * torch.randn(shared.b.shape, generator=chance)
        a = shared.a + eps * torch.randn(shared.a.shape, generator=chance)
        parts.append(LoraDelta(a, b, 1.0, 1.0))
    flat = dense(parts)
    expected = (flat[:, None] - flat).square().sum(dim=2)
    found = distances(gram(parts))
    off = ~torch.eye(len(parts), dtype=torch.bool)
    assert float(((found - expected)[off] / expected[off]).abs().max()) < 1e-5


def test_over_modules_they_add_up_to_those_of_whole_adapters():
    modules = [parts_of([2, 3, 4], 1), parts_of([1, 5, 2], 2, shape=(36, 10))]
    whole = torch.cat([dense(parts) for parts in modules], dim=1)
    summed = sum(gram(parts) for parts in modules)
    expected = (whole[:, None] - whole).square().sum(dim=2)
    assert gap(summed, whole @ whole.T, whole.square().sum()) < 1e-14
    assert gap(distances(summed), expected, expected.max()) < 1e-13
    assert gap(sum(distances(gram(parts)) for parts in modules), expected, expected.max()) < 1e-13


@pytest.mark.parametrize("size", [3e38, 1e-30])
def test_factors_near_the_ends_of_their_range_neither_overflow_nor_vanish(size):
    parts = [LoraDelta(torch.full((2, 100), size), torch.full((50, 2), size), 1.0, 1.0)] * 2
    entry = 2 * float(torch.tensor(size).double()) ** 2
    assert float(gram(parts)[0, 1]) == pytest.approx(5000 * entry**2, rel=1e-12)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["a", "b"])
def test_a_delta_that_is_not_finite_is_refused_by_its_place(bad, where):
    parts = parts_of([3, 3, 3])
    getattr(parts[1], where)[1, 2] = bad
    with pytest.raises(MergeError, match="delta 1 "):
        gram(parts)
