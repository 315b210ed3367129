"""Small factors survive sixteen bits, because A and B carry the size of their product together."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.sink import balanced, padded_to
from hivelearn.merging.merge import merge
from hivelearn.patch.adapter import Adapter

SIZES = {
    "B of 1e-7, A of 1": (1.0, 1e-7),
    "A of 1e-7, B of 1": (1e-7, 1.0),
    "both of 1e-4": (1e-4, 1e-4),
    "A of 1e6, B of 1e-9": (1e6, 1e-9),
    "usual": (0.02, 0.005),
}


def sized(seed, of_a, of_b):
    chance = torch.Generator().manual_seed(seed)
    a, b = torch.randn(4, 24, generator=chance), torch.randn(20, 4, generator=chance)
    return Adapter({"q": (a * of_a, b * of_b)}, 4, 4.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("method", ["linear", "core_ties"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_a_merge_is_written_to_within_a_few_roundings(tmp_path, sizes, method, dtype):
    sources = [sized(seed, *sizes) for seed in (1, 2)]
    exact = merge(sources, method, rank="stack").delta("q")
    for out in (None, tmp_path / "out"):
        found = merge(sources, method, rank="stack", dtype=dtype, out=out).delta("q")
        assert float((found - exact).norm() / exact.norm()) < 0.01


@given(st.integers(0, 99), st.floats(-30, 30), st.floats(-30, 30))
def test_balancing_changes_no_product_and_rounds_nothing(seed, of_a, of_b):
    a, b = sized(seed, 2.0**of_a, 2.0**of_b).factors["q"]
    one, other = balanced(a, b)
    for row in range(4):
        left, right = float(one[row].abs().max()), float(other[:, row].abs().max())
        assert 0.25 <= left / right <= 4.0
        torch.testing.assert_close(
            torch.outer(other[:, row], one[row]), torch.outer(b[:, row], a[row]), rtol=0, atol=0
        )


def test_a_row_that_adds_nothing_is_nothing_however_large_its_other_half():
    a, b = torch.tensor([[1e30, 1.0], [1.0, 2.0]]), torch.tensor([[0.0, 1.0]])
    half_a, half_b = padded_to(2, a, b, torch.float16)
    torch.testing.assert_close(half_b.float() @ half_a.float(), b @ a)


@pytest.mark.parametrize("sizes", [(1e-12, 1e-12), (1e8, 1e8)])
def test_what_no_balance_can_hold_is_refused(sizes):
    with pytest.raises(MergeError, match="float16"):
        merge([sized(1, *sizes)], dtype="float16")
