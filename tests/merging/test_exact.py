"""Solved between Gram matrices: how much their rounding may matter, and when it is too much."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging import exact as room
from hivelearn.merging import grams
from hivelearn.merging.exact import exact
from hivelearn.merging.lowrank import Size, truncate

SOME = settings(max_examples=40, deadline=None, derandomize=True)
BF16 = torch.bfloat16
COARSE, HALF, FINE = 2 * grams._ONCE, grams._ONCE + grams._TWICE, 2 * grams._TWICE
SINGLE, DOUBLE = "float32", "float64"


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def large(shared, count=160, seed=3, wide=700):
    """Return bf16 factors, too large to begin in float64, that have a share in common."""
    tall = wide + 100
    a = shared * draw(seed, 1, wide) + (1 - shared) * draw(seed + 1, count, wide)
    b = shared * draw(seed + 2, tall, 1) + (1 - shared) * draw(seed + 3, tall, count)
    return a.to(BF16), b.to(BF16), torch.linspace(0.5, 1.5, count)


def tried(monkeypatch, *given, **more):
    """Return the factors, and how rightly each pair of Gram matrices was made."""
    solved, seen = room._solved, []

    def noted(made, *rest):
        seen.append(made.rounded or (SINGLE if made.summed else DOUBLE))
        return solved(made, *rest)

    monkeypatch.setattr(room, "_solved", noted)
    return exact(*given, **more), seen


def dense(a, b, scales):
    return (b.double() * scales.double()) @ a.double()


def errors(made, whole, over=1.01, rank=16):
    """Return the error of factors of a rank, and what it may be: so far over the best, or 1e-6."""
    values = torch.linalg.svdvals(whole)
    gap = float((made.b.double() @ made.a.double() - whole).norm() / whole.norm())
    best = float(values[rank:].norm() / values.norm())
    return gap, max(over * best, best + 1e-6)


@SOME
@given(st.integers(0, 999), st.floats(0, 1), st.sampled_from([1e-25, 1.0, 1e12]), st.booleans())
def test_rounding_moves_a_squared_norm_by_no_more_than_its_bound(seed, shared, unit, flip):
    a, b, scales = large(shared, seed=seed)
    scales = unit * (scales * (-1) ** torch.arange(160) if flip else scales)
    true = float(dense(a, b, scales).square().sum())
    bounds = []
    for made in grams.finer(a, b, scales.double(), BF16):
        entries = made.of_a.double() * made.of_b.double()
        off = abs(float(entries.sum()) - true)
        assert off <= made.moved + 1e-12 * float(entries.abs().sum())
        bounds.append(made.moved)
    assert bounds[-1] == 0.0 < bounds[-2]
    assert bounds == sorted(bounds, reverse=True)
    assert len(bounds) == (4 if unit == 1.0 else 2)  # the coarse ones are of float32's range


@SOME
@given(st.integers(0, 999), st.floats(0, 1), st.sampled_from([1e-25, 1.0, 1e12]), st.booleans())
def test_rounding_moves_the_whole_spectrum_by_no_more_than_its_bound(seed, shared, unit, flip):
    a, b, scales = large(shared, seed=seed)
    scales = unit * (scales * (-1) ** torch.arange(160) if flip else scales)
    *coarser, right = grams.finer(a, b, scales.double(), BF16)
    assert list(right.off()) == [0.0]
    # ‖Lᵀ E L‖, with L of the coarse A Aᵀ for an error of BᵀB and the reverse for one of A Aᵀ.
    for made in coarser:
        assert torch.allclose(made.by_a, right.by_a, rtol=1e-2)  # so that entries compare
        of_a = right.of_a * torch.outer(made.by_a / right.by_a, made.by_a / right.by_a)
        of_b = right.of_b * torch.outer(made.by_b / right.by_b, made.by_b / right.by_b)
        first, second = made.of_a.double() @ (made.of_b - of_b), (made.of_a - of_a) @ of_b
        moved = sum(float((x * x.T).sum().clamp_min(0.0)) ** 0.5 for x in (first, second))
        rough, close = made.off()
        assert 0.0 < moved <= close <= 1.001 * rough


@pytest.mark.parametrize(
    ("wide", "shared", "solved"),
    [
        (1400, 0.0, [COARSE]),
        (700, 0.0, [COARSE, HALF]),
        (1400, 0.3, [HALF, FINE]),  # both coarse would not do, and nothing was spent on them
        (1400, 0.999, [HALF, FINE, DOUBLE]),
    ],
)
def test_finer_products_are_made_where_rounding_could_matter(monkeypatch, wide, shared, solved):
    a, b, scales = large(shared, wide=wide)
    made, seen = tried(monkeypatch, a, b, scales, Size(16), BF16)
    assert seen == solved
    whole = dense(a, b, scales)
    gap, allowed = errors(made, whole)
    assert gap <= allowed
    assert made.error == pytest.approx(gap, rel=5e-3, abs=1e-6)
    assert made.total == pytest.approx(float(whole.square().sum()), rel=1e-3)


def test_a_gap_in_the_spectrum_makes_coarse_products_right_enough(monkeypatch):
    # Sixteen adapters half in common: rounding hardly turns what they share.
    share, apart = draw(1, 16, 2048).repeat(16, 1), draw(2, 256, 2048)
    a = (share + apart).to(BF16)
    b = (draw(3, 2048, 16).repeat(1, 16) + draw(4, 2048, 256)).to(BF16)
    made, seen = tried(monkeypatch, a, b, torch.ones(256), Size(16), BF16)
    assert seen == [HALF]
    gap, allowed = errors(made, dense(a, b, torch.ones(256)), over=1.001)
    assert gap <= allowed
    assert made.error == pytest.approx(gap, rel=1e-3)


def test_a_metric_that_rounding_made_indefinite_is_not_used(monkeypatch):
    # Rows in pairs that differ by less than 8 bits show: some would have negative lengths.
    twins = draw(1, 80, 1400).repeat(2, 1)
    a = (twins + 0.01 * draw(2, 160, 1400)).to(BF16)
    b, scales = draw(3, 1500, 160).to(BF16), torch.ones(160)
    coarse = next(grams.finer(a, b, scales.double(), BF16))
    assert float(torch.linalg.eigvalsh(coarse.of_a)[0]) < 0
    assert not coarse.definite()
    made, seen = tried(monkeypatch, a, b, scales, Size(16), BF16)
    assert COARSE not in seen
    gap, allowed = errors(made, dense(a, b, scales))
    assert gap <= allowed
    assert made.error == pytest.approx(gap, rel=5e-3)


@pytest.mark.parametrize("steep", [0.4, 0.45])
def test_new_factors_are_not_rounded_where_the_cut_loses_next_to_nothing(steep):
    # Products in bf16 come out in 8 bits; of an optimum of 1.5 % that was another 1.2 %.
    a = draw(1, 256, 640).to(BF16)
    b = (draw(2, 600, 256) * 10.0 ** (-steep * torch.arange(32)).repeat(8)).to(BF16)
    made = truncate(a, b, Size(32), scales=torch.ones(256), dtype=BF16)
    whole = dense(a, b, torch.ones(256))
    values = torch.linalg.svdvals(whole)
    best = float(values[32:].norm() / values.norm())
    gap = float((made.b.double() @ made.a.double() - whole).norm() / whole.norm())
    assert best < 0.03
    assert gap <= 1.001 * best
    assert made.error == pytest.approx(gap, rel=1e-3)


@pytest.mark.parametrize("stored", [torch.float32, BF16], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, BF16], ids=str)
@pytest.mark.parametrize("apart", [1e-1, 1e-2, 1e-3])
def test_many_copies_that_hardly_differ_are_cut_as_well(dtype, stored, apart):
    # Directions that have converged leave nothing but rounding beside them.
    a = (draw(1, 16, 400).repeat(3, 1) + apart * draw(2, 48, 400)).repeat(6, 1)[:256].to(stored)
    b = (draw(3, 320, 16).repeat(1, 3) + apart * draw(4, 320, 48)).repeat(1, 6)[:, :256].to(stored)
    made = truncate(a, b, Size(16), dtype=dtype)
    gap, allowed = errors(made, dense(a, b, torch.ones(256)), over=1.0005)
    assert gap <= allowed
    assert made.error == pytest.approx(gap, rel=0.05, abs=1e-6)


def test_rounding_that_agrees_everywhere_moves_the_report_within_its_bound():
    # Norms round up, inner products down, in 8 bits: by 2**-8 each, the most there is.
    one = torch.eye(256)
    tall = [torch.ones(1, 256), torch.full((1, 256), 1 / 16), 3 / 16 * one, 1 / 16 * one]
    a, b = one.to(BF16), torch.cat(tall).to(BF16)
    made = truncate(a, b, Size(1), dtype=BF16)
    gap, allowed = errors(made, dense(a, b, torch.ones(256)), rank=1)
    assert gap <= allowed
    assert made.error == pytest.approx(gap, rel=0.1)


def test_long_sums_of_equal_numbers_are_not_trusted_to_float32():
    # Every addition is rounded the same way: 4e-4 of the sum at 131,080 columns.
    count, long = 8, 131_080
    each = torch.tensor([125.5, 119.5, 126, 67, 67, 126, 127.5, 125.5]) / 64
    a, b = torch.zeros(count, long), torch.zeros(long, count)
    a[:, :-64] = each[:, None]
    for n in range(count):
        a[n, long - 64 + 8 * n :][:8] = (48e-6 * (long - 64)) ** 0.5 * each[n]
        b[16 * n : 16 * n + 16, n] = 1
    a, b = a.to(BF16), b.to(BF16)
    made = truncate(a, b, Size(1), dtype=torch.float32)
    values = torch.linalg.svdvals(a.double())  # of the product, but for a factor of 4
    assert made.error == pytest.approx(float(values[1:].norm() / values.norm()), rel=0.1)


def test_float32_factors_are_never_rounded_to_bf16(monkeypatch):
    a, b, scales = large(0.0)
    _, seen = tried(monkeypatch, a.float(), b, scales, Size(16), BF16)
    assert seen == [SINGLE]


def test_few_and_short_rows_are_solved_in_float64_at_once(monkeypatch):
    _, seen = tried(monkeypatch, draw(1, 8, 300), draw(2, 200, 8), torch.ones(8), Size(4), BF16)
    assert seen == [DOUBLE]


def test_a_term_that_float32_takes_for_zero_counts():
    a, b, scales = large(0.3)
    plain = exact(a, b, scales, Size(16), BF16)
    a[5], b[:, 5] = a[5] * 1e-22, b[:, 5] * 1e22
    other = exact(a, b, scales, Size(16), BF16)
    assert other.total == pytest.approx(plain.total, rel=1e-2)
    assert other.error == pytest.approx(plain.error, rel=1e-2)


def test_a_term_that_is_zero_costs_no_finer_products(monkeypatch):
    a, b, scales = large(0.0)
    a[7] = 0
    _, seen = tried(monkeypatch, a, b, scales, Size(16), BF16)
    assert len(seen) == 1


@pytest.mark.parametrize("unit", [1e-25, 1e-20, 1e25])
def test_factors_whose_products_leave_float32_are_still_solved(unit):
    # Squares of one factor overflow or vanish; the delta itself is ordinary.
    a, b, scales = large(0.3)
    plain = exact(a, b, scales, Size(16), BF16)
    other = exact((a * unit).to(BF16), (b / unit).to(BF16), scales, Size(16), BF16)
    assert other.error == pytest.approx(plain.error, rel=1e-2)
