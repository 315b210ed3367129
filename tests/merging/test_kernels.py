"""Which number type a sketch is computed in, and the signs that it is drawn from."""

import pytest
import torch

from hivelearn.merging import grams, kernels, lowrank
from hivelearn.merging.krylov import signs
from hivelearn.merging.lowrank import Size, truncate


def test_signs_are_the_bits_of_shake_256():
    # python -c "import hashlib; print(hashlib.shake_256(b'hivelearn/sketch/2|2x8|k').hexdigest(2))"
    drawn = signs(2, 8, "k", torch.float32)
    bits = [[int(sign > 0) << n for n, sign in enumerate(row)] for row in drawn.tolist()]
    assert bytes(map(sum, bits)).hex() == "f861"  # the lowest bit of a byte first
    assert abs(float(signs(64, 4096, "k", torch.float32).mean())) < 0.01


def test_bf16_is_chosen_only_where_it_is_clearly_faster():
    def clock_of(*spans):  # of each product, in the order in which they are timed
        stamps = [at for span in spans for _ in range(5) for at in (0.0, span)]
        return lambda: stamps.pop(0)

    assert kernels.faster(clock_of(2.0, 1.0)) is torch.bfloat16
    assert kernels.faster(clock_of(1.0, 1.0)) is torch.float32
    assert kernels.faster(clock_of(1.0, 0.9)) is torch.float32
    assert kernels.faster(clock_of(1.0, 100.0)) is torch.float32


def test_the_machine_is_measured_once(monkeypatch):
    kernels.product_dtype.cache_clear()
    monkeypatch.setattr(kernels, "faster", lambda clock: torch.float32)
    assert kernels.product_dtype() is torch.float32
    monkeypatch.setattr(kernels, "faster", None)
    assert kernels.product_dtype() is torch.float32
    kernels.product_dtype.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_measured_type_is_the_default(monkeypatch, dtype):
    chance = torch.Generator().manual_seed(1)
    a, b = torch.randn(256, 320, generator=chance), torch.randn(400, 256, generator=chance)
    monkeypatch.setattr(lowrank, "product_dtype", lambda: dtype)
    assert torch.equal(truncate(a, b, Size(16)).a, truncate(a, b, Size(16), dtype=dtype).a)


def test_nothing_is_measured_where_it_does_not_matter(monkeypatch):
    # On a CPU without bf16 instructions the measuring itself takes a tenth of a second.
    for room in (lowrank, grams):
        monkeypatch.setattr(room, "product_dtype", None)
    chance = torch.Generator().manual_seed(1)
    for count, dtype in ((4, torch.bfloat16), (32, torch.bfloat16), (128, torch.float32)):
        a, b = torch.randn(count, 320, generator=chance), torch.randn(400, count, generator=chance)
        assert truncate(a.to(dtype), b.to(dtype), Size(16)).a.shape[0] == min(count, 16)
