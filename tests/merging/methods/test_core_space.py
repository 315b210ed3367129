"""Merging in the joint core, against dense float64 singular vectors of all deltas."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging.deltas import DenseDeltas, LoraDelta, LoraDeltas
from hivelearn.merging.errors import MergeError
from hivelearn.merging.lowrank.factors import Size
from hivelearn.merging.methods import sparse
from hivelearn.merging.methods.core_space import in_core, joint_basis
from hivelearn.merging.methods.isotropic import iso_c, tsv

SOME = settings(max_examples=25, deadline=None, derandomize=True)
SHAPE = (40, 32)  # (d_out, d_in)
FULL = Size(32)


def part(seed, rank=4, *, scale=2.0, weight=0.5, shape=SHAPE, dtype=torch.float32):
    chance = torch.Generator().manual_seed(seed)
    a = torch.randn(rank, shape[1], generator=chance)
    b = torch.randn(shape[0], rank, generator=chance)
    return LoraDelta(a.to(dtype), b.to(dtype), scale, weight, bytes([seed]) * 32)


def delta(each):
    return each.scale * (each.b.double() @ each.a.double())


def dense(factors):
    return factors.b.double() @ factors.a.double()


def gap(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


def entrywise(deltas, weights, given, keys):
    """A rule for entries that is blind to signs: of each delta, what is above a threshold."""

    def rows():
        for top in range(0, deltas.shape[0], 3):
            place = slice(top, min(top + 3, deltas.shape[0]))
            blocks = [deltas.block(n, place) for n in range(deltas.count)]
            yield (
                place,
                sum(
                    weight * torch.where(block.abs() > given["above"], block, 0.0)
                    for weight, block in zip(weights, blocks, strict=True)
                ),
            )

    return rows


def by_hand(parts, function, given):
    """Return the dense (d_out, d_in) merge in the bases that a dense SVD finds."""
    deltas = [delta(each) for each in parts]
    left, values, _ = torch.linalg.svd(torch.cat(deltas, dim=1), full_matrices=False)
    left = left[:, values > 1e-6 * values[0]]
    _, values, right = torch.linalg.svd(torch.cat(deltas), full_matrices=False)
    right = right[values > 1e-6 * values[0]].T
    cores = DenseDeltas([left.T @ each @ right for each in deltas])
    weights = torch.tensor([each.weight for each in parts])
    core = torch.cat([b for _, b in function(cores, weights, given, [p.key for p in parts])()])
    return left @ core.double() @ right.T


TIES = {"density": torch.tensor([0.3, 0.3, 0.3]), "lam": 1.0, "normalize": True}
RULES = {
    "threshold": (entrywise, {"above": 3.0}),
    "sum": (entrywise, {"above": -1.0}),
    "ties": (sparse.ties, TIES),
    "iso_c": (iso_c, {"lam": 1.5}),
    "tsv": (tsv, {"lam": 0.5}),
}


def three(**changes):
    return [
        part(1, 3, **changes),
        part(2, 5, scale=0.5, weight=0.2, **changes),
        part(3, 2, scale=4.0, **changes),
    ]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_core_merge_is_the_rule_in_singular_vectors_of_all_deltas(name, dtype):
    function, given = RULES[name]
    parts = three(dtype=dtype)
    merged = in_core(parts, function, given, FULL)
    assert gap(dense(merged), by_hand(parts, function, given)) < 2e-5
    assert merged.a.shape[0] <= 10  # the sum of the ranks
    assert merged.error < 1e-3


def test_the_bases_are_the_singular_vectors():
    parts = three()
    basis = joint_basis(parts)
    assert basis.shape == (10, 10)
    for made, whole in (
        (basis.left, torch.cat([delta(each) for each in parts], dim=1)),
        (basis.right, torch.cat([delta(each) for each in parts]).T),
    ):
        found = made.double()
        assert float((found.T @ found - torch.eye(10)).abs().max()) < 1e-5
        wanted = torch.linalg.svd(whole)[0][:, :10]
        assert float(((found * wanted).sum(dim=0).abs() - 1).abs().max()) < 1e-5
    for each, rotated in zip(parts, basis.loras, strict=True):
        assert (
            gap(basis.left.double() @ delta(rotated) @ basis.right.double().T, delta(each)) < 1e-5
        )
        assert (rotated.key, rotated.weight) == (each.key, each.weight)


@SOME
@given(st.integers(0, 10_000), st.floats(-4, 4), st.sampled_from(sorted(RULES)))
def test_other_factors_of_the_same_deltas_merge_to_the_same(seed, spread, name):
    function, given = RULES[name]
    parts = three()
    chance = torch.Generator().manual_seed(seed)
    twins = []
    for each in parts:
        rank = each.a.shape[0]
        turn = torch.linalg.qr(torch.randn(rank, rank, generator=chance, dtype=torch.float64))[0]
        gauge = turn * torch.logspace(-spread / 2, spread / 2, rank, dtype=torch.float64)
        a, b = torch.linalg.solve(gauge, each.a.double()), each.b.double() @ gauge
        twins.append(replace(each, a=a.float() / 4, b=b.float(), scale=4 * each.scale))
    first, other = (dense(in_core(some, function, given, FULL)) for some in (parts, twins))
    assert gap(other, first) < 1e-3


@SOME
@given(st.permutations(range(3)), st.sampled_from(sorted(RULES)))
def test_order_does_not_matter(order, name):
    function, given = RULES[name]
    parts = three()
    first, other = (
        dense(in_core(some, function, given, FULL)) for some in (parts, [parts[n] for n in order])
    )
    assert gap(other, first) < 1e-5


def test_without_a_rule_a_core_merge_is_the_weighted_sum():
    parts = three()
    merged = in_core(parts, entrywise, {"above": -1.0}, FULL)
    assert gap(dense(merged), sum(each.weight * delta(each) for each in parts)) < 1e-6
    assert in_core(parts, entrywise, {"above": -1.0}, Size(2)).a.shape[0] == 2


def test_one_delta_stays_itself():
    only = part(1, weight=1.0)
    one = {**TIES, "density": torch.tensor([1.0])}
    for rule, numbers in ((sparse.ties, one), (tsv, {}), (entrywise, {"above": -1.0})):
        merged = in_core([only], rule, numbers, FULL)
        assert gap(dense(merged), delta(only)) < 1e-6
        assert merged.a.shape[0] == 4


def test_a_duplicate_adds_no_direction():
    parts = [part(1), part(2), replace(part(1), key=b"d" * 32)]
    assert joint_basis(parts).shape == (8, 8)
    merged = in_core(parts, entrywise, {"above": -1.0}, FULL)
    assert gap(dense(merged), 1.0 * delta(parts[0]) + 0.5 * delta(parts[1])) < 1e-6


@pytest.mark.parametrize(("strength", "held"), [(1e-4, 8), (1e-8, 4)])
def test_a_weak_direction_is_kept_and_a_rounding_error_is_not(strength, held):
    weak = replace(part(2), scale=strength)
    basis = joint_basis([part(1), weak])
    assert basis.shape == (held, held)
    if held == 8:
        found = basis.left.double() @ delta(basis.loras[1]) @ basis.right.double().T
        assert gap(found, delta(weak)) < 1e-2  # float32 bases, 1e-4 of the strongest


def test_zero_deltas_merge_to_zero_and_beside_others_count_for_nothing():
    nothing = replace(part(1), b=torch.zeros(40, 4))
    for rule, numbers in RULES.values():
        merged = in_core([nothing] * 3, rule, numbers, FULL)
        assert not dense(merged).any()
        assert (merged.a.shape, merged.b.shape) == ((1, 32), (40, 1))
    zeros = DenseDeltas([torch.zeros(SHAPE)])
    assert not any(block.any() for _, block in tsv(zeros, torch.ones(1), {}, [b""])())
    alone = in_core([part(2)], tsv, {}, FULL)
    assert gap(dense(in_core([part(2), nothing], tsv, {}, FULL)), dense(alone)) < 1e-6


def test_weight_zero_is_absent():
    parts = [part(1, 3), part(2, 5, weight=0.0), part(3, 2)]
    given = {**TIES, "density": torch.tensor([0.3, 0.9, 0.5])}
    without = {**TIES, "density": torch.tensor([0.3, 0.5])}
    merged = in_core(parts, sparse.ties, given, FULL)
    assert gap(dense(merged), dense(in_core(parts[::2], sparse.ties, without, FULL))) < 1e-6
    assert not dense(in_core([parts[1]], sparse.ties, given, FULL)).any()


def test_more_columns_than_dimensions_are_no_trouble():
    parts = [part(n, 8) for n in range(8)]  # 64 columns in 40 and 32 dimensions
    assert joint_basis(parts).shape == (40, 32)
    merged = in_core(parts, entrywise, {"above": 3.0}, FULL)
    assert gap(dense(merged), by_hand(parts, entrywise, {"above": 3.0})) < 1e-4


def test_keys_reach_the_rule():
    given = {"density": torch.full((3,), 0.5), "lam": 1.0, "rescale": "probability"}
    parts = three()
    first = dense(in_core(parts, sparse.dare_linear, given, FULL))
    assert torch.equal(first, dense(in_core(parts, sparse.dare_linear, given, FULL)))
    others = [replace(each, key=b"x" * 32) for each in parts]
    assert gap(dense(in_core(others, sparse.dare_linear, given, FULL)), first) > 0.1


def test_nothing_of_the_size_of_the_weight_is_formed(largest):
    parts = [part(n, 4, shape=(640, 640)) for n in range(6)]
    with largest as seen:
        in_core(parts, sparse.ties, {**TIES, "density": torch.full((6,), 0.2)}, Size(4))
    assert 640 * 4 <= seen.numel <= 640 * 24 < 640**2 // 10


def test_what_is_not_finite_is_refused():
    for broken in (float("nan"), float("inf")):
        bad = replace(part(1), b=torch.full((40, 4), broken))
        with pytest.raises(MergeError, match="overflows float32"):
            in_core([bad, part(2)], entrywise, {"above": 0.0}, FULL)


def iso_c_by_the_paper(deltas, weights, lam):
    """Marczak et al. 2025, Iso-C: SVD of the sum, one size for all that is there."""
    left, values, right = torch.linalg.svd(sum(w * d for w, d in zip(weights, deltas, strict=True)))
    rank = int((values > 1e-6 * values[0]).sum())
    return lam * values[:rank].mean() * left[:, :rank] @ right[:rank]


def tsv_by_the_paper(deltas, weights, lam):
    """Gargiulo et al. 2024, algorithm 1: 1/n of each spectrum, then two Procrustes problems."""
    keep = min(deltas[0].shape) // len(deltas)
    triplets = [torch.linalg.svd(each, full_matrices=False) for each in deltas]
    u = torch.cat([left[:, :keep] for left, _, _ in triplets], dim=1)
    v = torch.cat([right[:keep] for _, _, right in triplets])
    s = torch.cat([w * own[:keep] for w, (_, own, _) in zip(weights, triplets, strict=True)])
    left_u, _, right_u = torch.linalg.svd(u, full_matrices=False)
    left_v, _, right_v = torch.linalg.svd(v, full_matrices=False)
    return lam * (left_u @ right_u @ torch.diag(s) @ left_v @ right_v)


@pytest.mark.parametrize(
    ("function", "paper"), [(iso_c, iso_c_by_the_paper), (tsv, tsv_by_the_paper)]
)
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, -0.2, 0.9)])
def test_it_is_the_paper_on_whole_deltas_and_in_the_core(function, paper, weights):
    chance = torch.Generator().manual_seed(0)
    deltas = [torch.randn(*SHAPE, generator=chance) for _ in weights]
    wanted = paper([each.double() for each in deltas], weights, 0.7)
    rows = function(DenseDeltas(deltas), torch.tensor(weights), {"lam": 0.7}, [b""] * 3)
    ((place, found),) = rows()
    assert place == slice(0, 40)
    assert gap(found.double(), wanted) < 1e-6
    # The core turns low-rank deltas to small ones and changes nothing else: 12 = 3 x 4 dimensions.
    parts = [part(n, 4, weight=weight) for n, weight in enumerate(weights)]
    basis = joint_basis(parts)
    cores = [delta(each) for each in basis.loras]
    lifted = basis.left.double() @ paper(cores, weights, 0.7) @ basis.right.double().T
    merged = in_core(parts, function, {"lam": 0.7}, FULL)
    assert gap(dense(merged), lifted) < 1e-5
    assert merged.a.shape[0] == 12


def test_iso_c_leaves_one_singular_value():
    values = torch.linalg.svdvals(dense(in_core(three(), iso_c, {}, FULL)))
    assert float(values[:10].max() / values[:10].min() - 1) < 1e-5
    assert float(values[10:].max()) < 1e-5 * float(values[0])
    wanted = torch.linalg.svdvals(sum(each.weight * delta(each) for each in three()))[:10].mean()
    assert float(values[0]) == pytest.approx(float(wanted), rel=1e-6)


def test_tsv_takes_factors_or_the_whole_and_means_over_equals():
    weights, parts = torch.tensor([1.0, 0.5, 2.0]), three()
    ((_, first),) = tsv(LoraDeltas(parts), weights, {}, [])()
    ((_, whole),) = tsv(DenseDeltas([delta(each) for each in parts]), weights, {}, [])()
    assert gap(first.double(), whole.double()) < 1e-5
    twice = [part(1, weight=1.0), replace(part(1, weight=1.0), key=b"d" * 32)]
    merged = in_core(twice, tsv, {}, FULL)  # 4 dimensions for two, so 2 directions of each
    values = torch.linalg.svdvals(dense(merged))
    assert torch.allclose(values[:2], torch.linalg.svdvals(delta(twice[0]))[:2])
    assert float(values[2]) < 1e-5
