"""Every limit of a patch is known from names and shapes, before a step is trained."""

import pytest
import torch

from hivelearn.patch import safetensors_header as header
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.sealable import UnsealableError, refuse_unsealable


def _adapter(modules, rank=1, side=2):
    one = torch.zeros(rank, side), torch.zeros(side, rank)
    return Adapter(dict.fromkeys(modules, one), rank, 1.0)


LONG = "x" * 60
BEYOND = {
    "rank": (lambda: _adapter(["q"], rank=65, side=65), "rank 65", "r=64"),
    "kinds": (lambda: _adapter([f"layers.0.q{n}" for n in range(65)]), "65 kinds", "fewer modules"),
    "names": (
        lambda: _adapter([f"{LONG}.{LONG}.{LONG}.l{n}.q" for n in range(2_000)]),
        "names of its 2000 modules",
        "fewer modules",
    ),
}


@pytest.mark.parametrize(("make", "says", "remedy"), BEYOND.values(), ids=BEYOND)
def test_what_is_too_large_to_travel_says_by_how_much_and_what_to_do(make, says, remedy):
    with pytest.raises(UnsealableError, match=says) as caught:
        refuse_unsealable(make())
    assert remedy in caught.value.remedy


def test_bytes_are_counted_before_they_are_written(monkeypatch):
    monkeypatch.setattr(header, "PAYLOAD_MAX_BYTES", 1 << 20)
    with pytest.raises(UnsealableError, match="MiB") as caught:
        refuse_unsealable(_adapter(["q"], rank=16, side=1 << 15))
    assert "bfloat16" in caught.value.remedy


def test_an_adapter_that_keeps_the_limits_may_travel():
    refuse_unsealable(_adapter([f"layers.{n}.q{m}" for n in range(30) for m in range(64)], rank=2))
