"""Recompression against the dense SVD in float64 (Eckart and Young)."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging.errors import MergeError
from hivelearn.merging.lowrank.factors import Size
from hivelearn.merging.lowrank.truncate import truncate, truncate_rows

SOME = settings(max_examples=25, deadline=None, derandomize=True)
WIDE, WIDER = 128, 304  # sums of ranks: at rank 16 solved exactly, and sketched
BOTH = [torch.float32, torch.bfloat16]


def falling(count, kind, steep):
    """Return singular values: the spectra on which a sketch is good, and those where it is bad."""
    place = torch.arange(1, count + 1, dtype=torch.float64)
    return {
        "flat": torch.ones(count, dtype=torch.float64),
        "power": place**-steep,
        "geometric": (1 - 0.5 * steep / (1 + steep)) ** place,
        "linear": torch.linspace(1, 0.01, count, dtype=torch.float64) ** steep,
        "step": 1 + steep * (place <= 16),
        "spike": torch.where(place == 1, 10.0**steep, torch.linspace(1, 0.01, count).double()),
    }[kind]


def turned(rows, columns, seed):
    chance = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(rows, columns, generator=chance, dtype=torch.float64))[0]


def stack_of(values, d_out, d_in, seed=0, in_b=0.5, dtype=torch.float32):
    """Return a (R, d_in) and b (d_out, R) whose product has these singular values."""
    middle = turned(len(values), len(values), seed + 2)
    a = middle @ (values ** (1 - in_b) * turned(d_in, len(values), seed)).T
    b = (values**in_b * turned(d_out, len(values), seed + 1)) @ middle.T
    return a.to(dtype), b.to(dtype)


def adapters(count, rank, d_out, d_in, shared, dtype=torch.float32, seed=5):
    """Return the stacked factors of adapters that have a share in common."""
    chance = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=chance)
    a = shared * draw(rank, d_in).repeat(count, 1) + (1 - shared) * draw(rank * count, d_in)
    b = shared * draw(d_out, rank).repeat(1, count) + (1 - shared) * draw(d_out, rank * count)
    return a.to(dtype), b.to(dtype)


def product(a, b, scales=None):
    return b.double() @ (a.double() if scales is None else scales.double()[:, None] * a.double())


def gap(found, dense):
    return float((found.b.double() @ found.a.double() - dense).norm() / dense.norm())


def optimum(dense, rank):
    values = torch.linalg.svdvals(dense)
    return float(values[rank:].norm() / values.norm())


def in_blocks(matrix, height=37, counted=None):
    def rows():
        if counted is not None:
            counted.append(1)
        for top in range(0, matrix.shape[0], height):
            place = slice(top, min(top + height, matrix.shape[0]))
            yield place, matrix[place].float()

    return rows


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["flat", "power", "geometric", "linear", "step", "spike"]),
    steep=st.floats(0.1, 4),
    in_b=st.sampled_from([0.0, 0.5, 1.0]),
    stored=st.sampled_from(BOTH),
    count=st.sampled_from([WIDE, WIDER]),
    wide=st.booleans(),
)
def test_a_cut_is_within_one_percent_of_the_optimum(kind, steep, in_b, stored, count, wide):
    shape = (320, 400) if wide else (400, 320)
    a, b = stack_of(falling(count, kind, steep), *shape, in_b=in_b, dtype=stored)
    dense = product(a, b)
    assert gap(truncate(a, b, Size(16)), dense) <= max(1.01 * optimum(dense, 16), 1e-6)


@pytest.mark.parametrize("dtype", BOTH, ids=str)
@pytest.mark.parametrize("shared", [0.0, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize(("rank", "count", "shape"), [(1, 160, (500, 300)), (16, 16, (300, 500))])
def test_so_it_is_on_adapters_that_agree_more_or_less(dtype, shared, rank, count, shape):
    a, b = adapters(count, rank, *shape, shared, dtype)
    dense = product(a, b)
    made = truncate(a, b, Size(rank))
    assert gap(made, dense) <= 1.01 * optimum(dense, rank)


@pytest.mark.parametrize("far", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("half", [WIDE // 2, WIDER // 2 + 8])
def test_nearly_cancelling_weights_cost_no_accuracy(far, half):
    # The terms are 1 / far times larger than their sum.
    a, b = adapters(half // 16, 16, 400, 320, 0.0)
    near = b + far * torch.randn(b.shape, generator=torch.Generator().manual_seed(1))
    a, b = torch.cat([a, a]), torch.cat([b, near], dim=1)
    scales = torch.ones(2 * half)
    scales[half:] = -1
    dense = product(a, b, scales)
    made = truncate(a, b, Size(16), scales=scales)
    assert gap(made, dense) <= 1.01 * optimum(dense, 16)


@SOME
@given(
    st.sampled_from(["flat", "power", "geometric", "linear", "spike"]),
    st.floats(0.1, 4),
    st.integers(1, 23),
    st.floats(1e-9, 1e9),
)
def test_a_small_stack_is_solved_exactly(kind, steep, rank, scale):
    a, b = stack_of(falling(24, kind, steep), 40, 32)
    scales = torch.full((24,), scale)
    dense = product(a, b, scales)
    made = truncate(a, b, Size(rank), scales=scales)
    assert gap(made, dense) == pytest.approx(optimum(dense, rank), rel=1e-4, abs=1e-6)
    assert made.total == pytest.approx(float(dense.square().sum()), rel=1e-5)
    assert made.error == pytest.approx(gap(made, dense), rel=1e-3, abs=1e-3)


@SOME
@given(
    st.floats(0.05, 0.9999), st.sampled_from(["power", "geometric", "linear"]), st.floats(0.2, 2)
)
def test_energy_takes_the_smallest_rank_that_keeps_it(energy, kind, steep):
    a, b = stack_of(falling(24, kind, steep), 40, 32)
    squares = torch.linalg.svdvals(product(a, b)).square()
    shares = squares.cumsum(0) / squares.sum()
    wanted = 1 + int((shares < energy).sum())
    if float((shares - energy).abs().min()) < 1e-6:  # within float32 of two ranks
        return
    made = truncate(a, b, Size(24, energy))
    assert made.a.shape[0] == made.b.shape[1] == wanted
    assert made.kept >= energy * made.total * (1 - 1e-9)
    assert truncate(a, b, Size(2, energy)).a.shape[0] == min(2, wanted)
    rows = truncate_rows(in_blocks(product(a, b)), (40, 32), Size(24, energy))
    assert rows.a.shape[0] == wanted


def test_energy_of_a_wide_stack_is_exact_too():
    a, b = stack_of(falling(WIDE, "power", 1.2), 400, 320)
    squares = torch.linalg.svdvals(product(a, b)).square()
    wanted = 1 + int((squares.cumsum(0) / squares.sum() < 0.9).sum())
    for most in (wanted + 3, WIDE):
        made = truncate(a, b, Size(most, 0.9))
        assert made.a.shape[0] == wanted
        assert made.total == pytest.approx(float(squares.sum()), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_stack_within_the_rank_is_returned_bit_for_bit(dtype):
    a, b = adapters(3, 4, 24, 20, 0.0, dtype)
    scales = torch.tensor([0.5, -2.0, 0.25]).repeat_interleave(4)
    made = truncate(a, b, Size(12), scales=scales)
    assert torch.equal(made.a, a.float())
    assert torch.equal(made.b, b.float() * scales)
    assert made.error == 0.0
    assert made.total == pytest.approx(float(product(a, b, scales).square().sum()), rel=1e-6)


def test_the_norm_of_a_wide_stack_is_exact():
    a, b = adapters(16, 16, 400, 320, 0.0)
    made = truncate(a, b, Size(WIDE))
    assert made.total == pytest.approx(float(product(a, b).square().sum()), rel=1e-6)


@pytest.mark.parametrize("dtype", BOTH, ids=str)
@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("count", [16, 20])
def test_the_reported_error_is_close(count, dtype, shared):
    a, b = adapters(count, 16, 400, 320, shared, dtype)
    made = truncate(a, b, Size(16))
    assert made.error == pytest.approx(gap(made, product(a, b)), rel=0.05)
    assert made.kept == pytest.approx(float(product(made.a, made.b).square().sum()), rel=1e-2)


@pytest.mark.parametrize("count", [2, 16])
def test_a_duplicate_or_a_null_direction_is_no_rank(count):
    a, b = adapters(1, 16, 400, 320, 0.0)
    a, b = a.repeat(count, 1), b.repeat(1, count)
    a[3::16] = 0
    made = truncate(a, b, Size(31 if count == 2 else 20))
    assert gap(made, product(a, b)) < 1e-6
    assert made.a.shape[0] >= 15
    if count == 2:
        assert made.a.shape[0] == 15  # solved exactly, so no rank for rounding errors


@pytest.mark.parametrize("count", [3, 24, WIDE, WIDER])
def test_zero_stays_zero_without_a_nan(count):
    made = truncate(torch.zeros(count, 300), torch.ones(200, count), Size(16))
    assert not made.b.double().matmul(made.a.double()).any()
    assert made.error == 0.0
    none = truncate_rows(in_blocks(torch.zeros(100, 90)), (100, 90), Size(2))
    assert none.a.shape == (1, 90)
    assert none.error == none.total == 0.0


@SOME
@given(st.integers(0, 10_000), st.sampled_from([24, 160, 300]), st.floats(-6, 6))
def test_other_factors_of_the_same_delta_give_the_same_delta(seed, count, spread):
    a, b = stack_of(falling(count, "power", 1.5), 320, 300)
    even = torch.logspace(-spread, spread, count)  # and a large factor behind a small one
    middle = turned(count, count, seed).float()
    first = truncate(a, b, Size(8))
    other = truncate(even[:, None] * a, b / even, Size(8))
    assert gap(other, product(first.a, first.b)) < 2e-3
    other = truncate(middle.T @ a, b @ middle, Size(8))
    assert gap(other, product(first.a, first.b)) < 2e-3


@pytest.mark.parametrize("shape", [(300, 280), (280, 300), (60, 500)])
@pytest.mark.parametrize("kind", ["flat", "power", "linear", "spike"])
def test_rows_are_cut_within_one_percent_of_the_optimum(shape, kind):
    a, b = stack_of(falling(min(shape), kind, 1.5), *shape)
    dense, calls = product(a, b), []
    made = truncate_rows(in_blocks(dense, counted=calls), shape, Size(16))
    assert gap(made, dense) <= max(1.01 * optimum(dense, 16), 1e-6)
    assert made.total == pytest.approx(float(dense.square().sum()), rel=1e-6)
    assert made.error == pytest.approx(gap(made, dense), rel=1e-3, abs=1e-3)
    assert len(calls) == (1 if min(shape) < 64 else 3)


@SOME
@given(st.integers(8, 300))
def test_height_of_the_blocks_does_not_matter(height):
    dense = product(*adapters(20, 4, 300, 200, 0.5))
    first = truncate_rows(in_blocks(dense), (300, 200), Size(4))
    other = truncate_rows(in_blocks(dense, height), (300, 200), Size(4))
    assert gap(other, product(first.a, first.b)) < 1e-4


@pytest.mark.parametrize("count", [24, WIDE, WIDER])
@pytest.mark.parametrize("dtype", BOTH, ids=str)
def test_what_overflows_float32_is_refused(count, dtype):
    huge = (1e20 * torch.ones(count, 300)).to(dtype), (1e20 * torch.ones(280, count)).to(dtype)
    for size in (Size(16), Size(count)):
        with pytest.raises(MergeError, match="overflows float32"):
            truncate(*huge, size)
    with pytest.raises(MergeError, match="overflows float32"):
        truncate_rows(in_blocks(torch.full((300, 280), math.inf)), (300, 280), Size(16))


@pytest.mark.parametrize("unit", [1e-12, 1e12])
@pytest.mark.parametrize("dtype", BOTH, ids=str)
@pytest.mark.parametrize("count", [16, 19])
def test_a_large_or_small_unit_changes_nothing_else(unit, dtype, count):
    a, b = adapters(count, 16, 400, 320, 0.3, dtype)
    plain = truncate(a, b, Size(16))
    scaled = truncate(a, b, Size(16), scales=torch.full((16 * count,), unit))
    assert gap(scaled, unit * product(plain.a, plain.b)) < 1e-3
    assert scaled.error == pytest.approx(plain.error, rel=1e-2)


def test_nothing_of_the_size_of_the_weight_is_formed(largest):
    side, rank, count = 1000, 4, 50
    a, b = adapters(count, rank, side, side, 0.5, torch.bfloat16)
    with largest as seen:
        truncate(a, b, Size(rank))
    with largest as seen:
        truncate(a[:96], b[:, :96], Size(rank))
    assert side * rank <= seen.numel <= side * rank * count < side**2 // 4


def test_a_sketch_reads_no_global_randomness():
    a, b = adapters(19, 16, 400, 320, 0.0)
    torch.manual_seed(1)
    first, state = truncate(a, b, Size(16)), torch.get_rng_state()
    torch.manual_seed(2)
    again = truncate(a, b, Size(16))
    assert torch.equal(first.a, again.a)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    other = truncate(a, b, Size(16), "another key")
    assert not torch.equal(first.a, other.a)


def test_a_mixture_that_float32_cannot_hold_is_made_in_float64():
    a, b = adapters(6, 4, 40, 32, 0.0)
    # Sharing a singular value evenly multiplies these rows by 1e39.
    a, b = 1e-42 * a, 1e36 * b
    made = truncate(a, b, Size(2))
    values = torch.linalg.svdvals(product(a, b))
    assert gap(made, product(a, b)) <= 1.01 * float(values[2:].norm() / values.norm())
