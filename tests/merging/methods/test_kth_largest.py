"""The k-th largest magnitude is exact, whatever the delta, and found in little memory."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging import blocks
from hivelearn.merging.deltas import DenseDeltas, LoraDelta, LoraDeltas
from hivelearn.merging.errors import MergeError
from hivelearn.merging.methods import kth_largest as threshold
from hivelearn.merging.methods.kth_largest import by_bits, kth_largest

SOME = settings(max_examples=25, deadline=None, derandomize=True)
ROWS, COLUMNS = 330, 260
SIZE = ROWS * COLUMNS
CHANCE = np.random.default_rng(0)
NORMAL = CHANCE.standard_normal((ROWS, COLUMNS))
RAMP = np.logspace(-6, 6, ROWS)[:, None]
HUGE = NORMAL.copy()
HUGE[-1, -1] = -3e38
EVERY_ELEVENTH = np.where(np.arange(ROWS)[:, None] % threshold.ROW_STEP == 5, 1e-3, 1.0)
ADVERSARIAL = {
    "normal": NORMAL,
    "all equal": np.full((ROWS, COLUMNS), -2.5),
    "all zero": np.zeros((ROWS, COLUMNS)),
    "one huge outlier": HUGE,
    "first rows tiny, last rows huge": NORMAL * RAMP,
    "one row holds all": NORMAL * (np.arange(ROWS)[:, None] == 200),
    "sampled rows are not like the others": NORMAL * EVERY_ELEVENTH,
    "rows of wild scale": NORMAL * np.exp(3 * CHANCE.standard_normal((ROWS, 1))),
    "columns of wild scale": NORMAL * np.exp(3 * CHANCE.standard_normal((1, COLUMNS))),
    "three values": np.sign(NORMAL) * (np.abs(NORMAL) > 1),
    "bfloat16": torch.tensor(NORMAL).bfloat16().double().numpy(),
    "denormal": NORMAL * 1e-42,
    "sorted": np.arange(SIZE, dtype=float).reshape(ROWS, COLUMNS),
}
RANKS = [1, 2, SIZE // 1000, SIZE // 5, SIZE // 2, SIZE - 1, SIZE]


def dense(matrix):
    return DenseDeltas([torch.as_tensor(matrix, dtype=torch.float32)])


def sorted_magnitudes(deltas):
    whole = deltas.block(0, slice(0, deltas.shape[0]))
    return whole.abs().flatten().sort(descending=True).values


@pytest.fixture
def small(held_at_once):
    """Blocks of 8 rows, and a small matrix takes the way of a large one: sample and bracket."""
    held_at_once(block=8 * COLUMNS, collected=SIZE - 1, share=1.0)


@pytest.mark.parametrize("matrix", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_it_is_exact_on_adversarial_deltas(small, matrix):
    deltas = dense(matrix)
    expected = sorted_magnitudes(deltas)
    for rank in RANKS:
        assert kth_largest(deltas, 0, [rank]) == [float(expected[rank - 1])]


@pytest.mark.parametrize("shape", [(1, SIZE), (SIZE, 1), (2, SIZE // 2), (SIZE // 5, 5)])
def test_it_is_exact_in_long_rows_and_in_short_ones(small, shape):
    deltas = dense(NORMAL.reshape(shape))
    expected = sorted_magnitudes(deltas)
    for rank in RANKS:
        assert kth_largest(deltas, 0, [rank]) == [float(expected[rank - 1])]


@pytest.mark.parametrize("matrix", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_counting_bits_is_exact_too(small, matrix):
    deltas = dense(matrix)
    expected = [float(sorted_magnitudes(deltas)[rank - 1]) for rank in RANKS]
    assert by_bits(deltas, 0, RANKS) == expected


@pytest.mark.parametrize("matrix", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
@pytest.mark.parametrize("brackets", [(0.0, 0.0), (1e-30, 1e-20), (3e38, float("inf"))])
def test_a_sample_that_misleads_costs_time_and_no_digit(small, monkeypatch, matrix, brackets):
    monkeypatch.setattr(threshold, "_brackets", lambda *_: [brackets])
    deltas = dense(matrix)
    expected = sorted_magnitudes(deltas)
    for rank in RANKS:
        assert kth_largest(deltas, 0, [rank]) == [float(expected[rank - 1])]


class Counted(LoraDeltas):
    """Deltas that count how many rows of them are made."""

    rows = 0

    def block(self, index, place):
        Counted.rows += len(range(*place.indices(self.shape[0])))
        return super().block(index, place)


@pytest.mark.parametrize("trend", [0.0, 6.0])  # the last rows up to 1e6 larger
def test_on_ordinary_deltas_one_pass_suffices(held_at_once, trend):
    held_at_once(collected=1 << 17)
    chance = torch.Generator().manual_seed(3)
    b, a = torch.randn(2048, 8, generator=chance), torch.randn(8, 512, generator=chance)
    deltas = Counted([LoraDelta(a, b * torch.logspace(0, trend, 2048)[:, None], 1.0, 1.0)])
    expected = sorted_magnitudes(deltas)
    ranks = [2048, 1 << 18, 1 << 19]
    Counted.rows = 0
    assert kth_largest(deltas, 0, ranks) == [float(expected[rank - 1]) for rank in ranks]
    assert Counted.rows <= 2048 * (1 + 1 / threshold.ROW_STEP) + 1  # the sample, then all once


@SOME
@given(
    st.lists(st.floats(-9, 9, width=32), min_size=12, max_size=12),
    st.lists(st.integers(1, 12), min_size=1, max_size=3),
)
def test_on_a_few_numbers_it_is_what_sorting_gives(values, ranks):
    deltas = dense(np.array(values, dtype=np.float32).reshape(4, 3))
    expected = sorted(map(abs, values), reverse=True)
    wanted = [expected[rank - 1] for rank in ranks]
    assert kth_largest(deltas, 0, ranks) == wanted
    assert by_bits(deltas, 0, ranks) == wanted


def test_a_product_of_factors_gives_the_magnitudes_of_its_own_blocks(small):
    chance = torch.Generator().manual_seed(3)
    b, a = (torch.randn(shape, generator=chance) for shape in ((ROWS, 4), (4, COLUMNS)))
    deltas = LoraDeltas([LoraDelta(a.bfloat16(), b.bfloat16(), 0.5, 1.0)])
    made = torch.cat([deltas.block(0, place) for place in blocks.places(deltas.shape)])
    limit = kth_largest(deltas, 0, [SIZE // 5])[0]
    assert int((made.abs() >= limit).sum()) == SIZE // 5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("room", [SIZE, SIZE - 1])
def test_what_is_not_finite_is_refused_by_name_and_place(small, held_at_once, bad, room):
    held_at_once(collected=room)
    matrix = NORMAL.copy()
    matrix[20, 3] = bad
    deltas = DenseDeltas([torch.zeros(ROWS, COLUMNS), torch.tensor(matrix)])
    with pytest.raises(MergeError, match="delta 1 is not finite in float32 in rows 16 to 24"):
        kth_largest(deltas, 1, [SIZE // 5])


@pytest.mark.parametrize("scale", [0.0, 1.0])  # by bits, by sample
def test_memory_is_a_few_blocks_whatever_the_size(held_at_once, largest, scale):
    held_at_once(block=1 << 14, collected=1 << 16)
    chance = torch.Generator().manual_seed(3)
    a, b = torch.randn(4, 1024, generator=chance), torch.randn(2048, 4, generator=chance)
    deltas = LoraDeltas([LoraDelta(a, b, scale, 1.0)])
    with largest as seen:
        kth_largest(deltas, 0, [1 << 18])  # torch's machinery for watching loads on first use
        tracemalloc.start()
        kth_largest(deltas, 0, [1 << 18])
    _, peak_bytes = tracemalloc.get_traced_memory()  # numpy reports to it
    tracemalloc.stop()
    assert seen.numel <= 1 << 14
    assert peak_bytes < 2_000_000 < 2048 * 1024 * 4 // 4


def test_a_layer_is_cut_into_blocks_that_none_is_of_a_few_rows(held_at_once):
    held_at_once(block=1000)
    for d_out in (1, 7, 8, 9, 99, 100, 101, 107, 108, 1000):
        cut = blocks.places((d_out, 10))
        assert [row for place in cut for row in range(place.start, place.stop)] == list(
            range(d_out)
        )
        heights = [place.stop - place.start for place in cut]
        assert min(heights) >= min(d_out, blocks.ROWS_MIN)
        assert max(heights) < 100 + blocks.ROWS_MIN
    assert blocks.places((0, 10)) == blocks.places((0, 0)) == []
