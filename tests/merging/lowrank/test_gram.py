"""Solved between two Gram matrices: as good as the reference, or left to it."""

import pytest
import torch

from hivelearn.merging.lowrank.factors import Size
from hivelearn.merging.lowrank.gram import by_gram, inner_products, squared_norm
from hivelearn.merging.lowrank.qr import by_qr
from hivelearn.merging.lowrank.truncate import truncate


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rank", [1, 16])
def test_a_low_stack_is_cut_as_well_as_by_the_reference(hard, judged, rank):
    stack = hard(128)
    truth = by_qr(*stack, Size(rank))
    found = by_gram(*stack, Size(rank)), truncate(*stack[:2], Size(rank), scales=stack[2])
    for made in (each for each in found if each is not None):
        gap, least = judged(made, stack, rank)
        assert gap <= max(1.0005 * least, least + 1e-6)
        assert made.error == pytest.approx(gap, rel=1e-3, abs=1e-6)
        assert made.total == pytest.approx(truth.total, rel=1e-3)
        assert made.kept == pytest.approx(truth.kept, rel=1e-3)


def test_the_reference_is_the_dense_svd(hard, judged):
    stack = hard(64)
    made = by_qr(*stack, Size(16))
    gap, least = judged(made, stack, 16)
    assert gap == pytest.approx(least, rel=1e-5, abs=1e-6)
    assert made.error == pytest.approx(least, rel=1e-5, abs=1e-6)


def test_only_what_cancels_is_left_to_the_reference(hard, request):
    made = by_gram(*hard(128), Size(16))
    assert (made is None) == ("millionth" in request.node.name)


def test_the_norm_of_a_stack_is_right_to_a_hundredth(hard):
    stack = hard(128)
    assert squared_norm(*stack) == pytest.approx(by_qr(*stack, Size(1)).total, rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("count", "length"), [(1, 1), (63, 511), (65, 513), (200, 1025)])
def test_inner_products_are_those_of_float64(dtype, count, length):
    rows = drawn(1, count, length).to(dtype)
    for given in (rows, rows.T.contiguous().T):
        made = inner_products(given)
        assert torch.allclose(made, rows.double() @ rows.double().T, rtol=1e-12, atol=1e-12)
        assert torch.equal(made, made.T)


@pytest.mark.parametrize("steep", [0.4, 0.45])
def test_new_factors_are_not_rounded_where_the_cut_loses_next_to_nothing(judged, steep):
    a = drawn(1, 256, 640).bfloat16()
    b = (drawn(2, 600, 256) * 10.0 ** (-steep * torch.arange(32)).repeat(8)).bfloat16()
    made = truncate(a, b, Size(32))
    gap, least = judged(made, (a, b, torch.ones(256)), 32)
    assert least < 0.03
    assert gap <= 1.001 * least
    assert made.error == pytest.approx(gap, rel=1e-3)


def test_rounding_that_agrees_everywhere_does_not_move_the_report(judged):
    # In 8 bits norms would round up and inner products down, by the most there is.
    one = torch.eye(256)
    tall = [torch.ones(1, 256), torch.full((1, 256), 1 / 16), 3 / 16 * one, 1 / 16 * one]
    a, b = one.bfloat16(), torch.cat(tall).bfloat16()
    made = truncate(a, b, Size(1))
    gap, least = judged(made, (a, b, torch.ones(256)), 1)
    assert gap <= max(1.01 * least, least + 1e-6)
    assert made.error == pytest.approx(gap, rel=0.1)


def test_long_sums_of_equal_numbers_are_right():
    # Every addition would be rounded the same way in float32: 4e-4 of the sum at this length.
    count, long = 8, 131_080
    each = torch.tensor([125.5, 119.5, 126, 67, 67, 126, 127.5, 125.5]) / 64
    a, b = torch.zeros(count, long), torch.zeros(long, count)
    a[:, :-64] = each[:, None]
    for n in range(count):
        a[n, long - 64 + 8 * n :][:8] = (48e-6 * (long - 64)) ** 0.5 * each[n]
        b[16 * n : 16 * n + 16, n] = 1
    made = truncate(a.bfloat16(), b.bfloat16(), Size(1))
    values = torch.linalg.svdvals(a.bfloat16().double())  # of the product, but for a factor of 4
    assert made.error == pytest.approx(float(values[1:].norm() / values.norm()), rel=0.1)


def test_a_term_that_float32_takes_for_zero_counts(hard):
    a, b, scales = hard(128)
    a, b = a.double(), b.double()
    plain = truncate(a, b, Size(16), scales=scales)
    a[5], b[:, 5] = a[5] * 1e-22, b[:, 5] * 1e22
    other = truncate(a, b, Size(16), scales=scales)
    assert other.total == pytest.approx(plain.total, rel=1e-2)
    assert other.error == pytest.approx(plain.error, rel=1e-2, abs=1e-6)


@pytest.mark.parametrize("unit", [1e-25, 1e-20, 1e25])
@pytest.mark.parametrize("count", [160, 320])
def test_factors_whose_products_leave_float32_are_still_solved(unit, count):
    a, b = drawn(1, count, 700).bfloat16(), drawn(2, 800, count).bfloat16()
    plain = truncate(a, b, Size(16))
    other = truncate((a * unit).bfloat16(), (b / unit).bfloat16(), Size(16))
    assert other.error == pytest.approx(plain.error, rel=1e-2)
