"""A sketch of a high stack: as good as the reference, or left to it; drawn by its key."""

import pytest
import torch

from hivelearn.merging.lowrank.factors import Size
from hivelearn.merging.lowrank.qr import by_qr
from hivelearn.merging.lowrank.sketch import by_sketch, content_key, signs
from hivelearn.merging.lowrank.truncate import LOW, truncate


@pytest.mark.parametrize(
    ("count", "rank"), [(LOW + 32, 16), (LOW + 128, 16), (LOW + 256, 16), (LOW + 256, 1)]
)
def test_a_high_stack_is_cut_as_well_as_by_the_reference(hard, judged, count, rank):
    stack = hard(count)
    truth = by_qr(*stack, Size(rank))
    found = by_sketch(*stack, Size(rank), "k"), truncate(*stack[:2], Size(rank), scales=stack[2])
    for made in (each for each in found if each is not None):
        gap, least = judged(made, stack, rank)
        assert gap <= max(1.01 * least, least + 1e-6)
        assert made.error == pytest.approx(gap, rel=0.05, abs=1e-6)
        assert made.total == pytest.approx(truth.total, rel=0.05)


def test_what_float32_may_blur_is_left_to_others(hard, judged):
    stack = hard(320)
    made = by_sketch(*stack, Size(16), "k")
    assert made is None or judged(made, stack, 16)[0] > 1e-5


@pytest.mark.parametrize("unit", [1e-25, 1e25, 0.0])
def test_lengths_beyond_the_reach_of_float32_are_left_to_others(unit):
    a, b = torch.ones(320, 400), torch.ones(300, 320)
    a[3] = unit
    assert by_sketch(a, b, torch.ones(320), Size(16), "k") is None
    assert by_sketch(b.T, a.T, torch.ones(320), Size(16), "k") is None


def test_signs_are_the_bits_of_shake_256():
    # python -c "import hashlib; print(hashlib.shake_256(b'hivelearn/sketch/2|2x8|k').hexdigest(2))"
    bits = [[int(sign > 0) << n for n, sign in enumerate(row)] for row in signs(2, 8, "k").tolist()]
    assert bytes(map(sum, bits)).hex() == "f861"  # the lowest bit of a byte first
    many = signs(64, 4099, "k")
    assert abs(float(many.mean())) < 0.01
    assert set(many.unique().tolist()) == {-1.0, 1.0}


def test_a_key_follows_from_every_byte():
    one = torch.arange(24.0).view(4, 6)
    other = one.clone()
    other[3, 5] = 23.5
    assert content_key(one) == content_key(one.clone())
    assert content_key(one.T) == content_key(one.T.contiguous())
    assert len({content_key(one), content_key(other), content_key(one.bfloat16())}) == 3
    assert content_key(one[:2], one[2:]) == content_key(one)
