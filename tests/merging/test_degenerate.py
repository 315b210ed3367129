"""Matrices of fewer ranks than are looked for: of one entry, one column, of nothing at all."""

import weakref

import pytest
import torch

from hivelearn.merging.deltas import LoraDelta, narrowed
from hivelearn.merging.lowrank.factors import Size
from hivelearn.merging.lowrank.truncate import truncate
from hivelearn.merging.merge import merge
from hivelearn.merging.methods.core_space import joint_basis
from hivelearn.merging.methods.kth_largest import kth_largest
from hivelearn.patch.adapter import Adapter

M = "model.layers.0.self_attn.q_proj"


def adapter(a, b):
    return Adapter({M: (a, b)}, a.shape[0], float(a.shape[0]))


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def one_column(seed):
    a = torch.zeros(8, 256)
    a[:, 5] = 1.0
    return adapter(a, drawn(seed, 256, 8))


@pytest.mark.parametrize(
    ("method", "count", "settings"),
    [("ties", 1, {"density": 1e-6}), ("magnitude_prune", 1, {"density": 1e-6}),
     ("sce", 2, {"select_topk": 1e-6})],
)  # fmt: skip
def test_a_merge_that_leaves_one_entry_holds_that_entry(method, count, settings):
    sources = [adapter(drawn(n, 8, 256), drawn(9 + n, 256, 8)) for n in range(count)]
    delta = merge(sources, method=method, **settings).delta(M)
    assert int(delta.count_nonzero()) == 1
    assert float(delta.abs().max()) > 1.0


@pytest.mark.parametrize(("method", "count"), [("ties", 1), ("linear", 20), ("core_ties", 20)])
def test_deltas_of_one_column_are_merged_whole(method, count):
    sources = [one_column(n) for n in range(count)]
    delta = merge(sources, method=method, **({} if method == "linear" else {"density": 1.0})).delta(
        M
    )
    if method == "linear" or count == 1:
        mean = torch.stack([source.delta(M) for source in sources]).mean(0)
        assert float((delta - mean).norm() / mean.norm()) < 1e-6
    assert set(delta.nonzero()[:, 1].tolist()) == {5}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_what_cancels_exactly_is_zero(dtype):
    twin = adapter(drawn(1, 16, 512).to(dtype), drawn(2, 512, 16).to(dtype))
    made = merge(
        [twin] * 20, method="task_arithmetic", weights=[1.0, -1.0] * 10, allow_negative=True
    )
    assert float(made.delta(M).norm()) <= 1e-6 * float(twin.delta(M).norm())


@pytest.mark.parametrize("count", [4, 40])
def test_what_is_left_of_terms_that_nearly_cancel_is_right(count):
    # Terms 1e5 times larger than their sum; mixed in float32 a hundredth of it was wrong.
    a, b = drawn(1, 4, 60).bfloat16(), drawn(2, 40, 4).bfloat16()
    near = (b.float() + 1e-5 * drawn(3, 40, 4)).float()
    rows, columns = torch.cat([a] * count).float(), torch.cat([near, b.float()] * (count // 2), 1)
    scales = torch.tensor([1.0, -1.0]).repeat_interleave(4).repeat(count // 2)
    whole = (columns.double() * scales.double()) @ rows.double()
    made = truncate(rows, columns, Size(4), scales=scales)
    assert float((made.b.double() @ made.a.double() - whole).norm() / whole.norm()) < 1e-5


def test_a_sketch_that_float32_would_blur_is_solved_in_float64():
    x, y = drawn(1, 8, 256), drawn(2, 240, 8)
    b = torch.cat([y + 1e-6 * drawn(n, 240, 8) for n in range(40)], 1)
    scales = torch.tensor([1.0, -1.0]).repeat_interleave(8).repeat(20)
    a = torch.cat([x + 1e-6 * drawn(99 + n, 8, 256) for n in range(40)])
    whole = (b.double() * scales.double()) @ a.double()
    values = torch.linalg.svdvals(whole)
    made = truncate(a, b, Size(8), scales=scales)
    gap = float((made.b.double() @ made.a.double() - whole).norm())
    assert gap <= 1.01 * float(values[8:].norm())
    assert made.error == pytest.approx(gap / float(values.norm()), rel=0.01)


@pytest.mark.parametrize("ranks", [40, 200, 270])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_factors_below_the_normal_range_still_count(dtype, ranks):
    a, b = (1e-40 * drawn(1, ranks, 300).double()).to(dtype), (1e4 * drawn(2, 280, ranks)).to(dtype)
    whole = b.double() @ a.double()
    values = torch.linalg.svdvals(whole)
    made = truncate(a, b, Size(16))
    gap = float((made.b.double() @ made.a.double() - whole).norm())
    assert gap <= 1.01 * float(values[16:].norm())


@pytest.mark.parametrize(("d_out", "d_in"), [(7, 3), (3, 7), (1, 1), (40, 1)])
@pytest.mark.parametrize("method", ["linear", "karcher", "core_ties", "ties", "iso_c", "robust"])
def test_ranks_beyond_those_of_the_matrix_cost_nothing(method, d_out, d_in):
    # Their R x R inner products would be 64 MB here and 3 GB for a file of 80 KB.
    wide = [adapter(drawn(n, 2_800, d_in), drawn(n + 9, d_out, 2_800)) for n in (1, 2, 3)]
    plain = [adapter(*narrowed(*one.factors[M])) for one in wide]
    assert all(max(one.factors[M][0].shape) <= 7 for one in plain)
    made, expected = (merge(one, method=method, rank=2).delta(M) for one in (wide, plain))
    assert float((made - expected).norm()) <= 1e-5 * float(expected.norm())


def test_a_basis_of_more_columns_than_entries_is_orthonormal_and_spans_the_deltas():
    parts = [LoraDelta(drawn(n, 12, 20), drawn(n + 50, 30, 12), 0.5, 1.0) for n in range(9)]
    basis = joint_basis(parts)
    assert basis.shape == (30, 20)  # of 108 columns
    for side in (basis.left, basis.right):
        assert torch.allclose(side.T @ side, torch.eye(side.shape[1]), atol=1e-4)
    for part, own in zip(parts, basis.loras, strict=True):
        delta = 0.5 * part.b @ part.a
        again = 0.5 * basis.left @ own.b @ own.a @ basis.right.T
        assert float((again - delta).norm() / delta.norm()) < 1e-5
    # As singular vectors of all deltas side by side they come largest first.
    side_by_side = torch.cat([part.b @ part.a for part in parts], 1)
    sizes = (basis.left.T @ side_by_side).norm(dim=1)
    assert torch.allclose(sizes, torch.linalg.svdvals(side_by_side), rtol=1e-4)


def test_factors_are_narrowed_only_where_the_matrix_has_fewer_ranks():
    a, b = drawn(1, 3, 7), drawn(2, 5, 3)
    assert narrowed(a, b) == (a, b)
    wide_a, wide_b = drawn(3, 9, 7).bfloat16(), drawn(4, 5, 9).bfloat16()
    a, b = narrowed(wide_a, wide_b)
    assert (a.shape, b.shape) == ((5, 7), (5, 5))
    assert torch.allclose(b @ a, wide_b.float() @ wide_a.float(), rtol=1e-5, atol=1e-5)


def test_an_energy_of_more_ranks_than_the_matrix_has_is_found_in_the_matrix(largest):
    a, b = drawn(1, 200, 40), drawn(2, 60, 200)
    with largest as seen:
        made = truncate(a, b, Size(200, 0.9), scales=torch.full((200,), 0.5))
    assert seen.numel < 200**2  # no Gram matrix of 200 ranks
    values = torch.linalg.svdvals(0.5 * b.double() @ a.double()).square()
    rank = 1 + int((values.cumsum(0) < 0.9 * values.sum()).sum())
    assert made.a.shape[0] == rank
    assert made.kept == pytest.approx(float(values[:rank].sum()))


class Counted:
    """A delta that knows how many of its blocks are in memory at once."""

    count, shape = 1, (40_000, 64)

    def __init__(self):
        self.alive = self.most = 0

    def block(self, _, place):
        rows = len(range(*place.indices(self.shape[0])))
        made = drawn(place.start, rows, self.shape[1]).numpy()  # lives as long as its memory
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(made, self._gone)
        return torch.from_numpy(made)

    def _gone(self):
        self.alive -= 1


def test_the_sample_for_a_threshold_holds_no_block_of_the_delta(held_at_once):
    held_at_once(block=1 << 12)  # 57 of them are sampled
    seen = Counted()
    kth_largest(seen, 0, [1_000])
    assert seen.most <= 3
