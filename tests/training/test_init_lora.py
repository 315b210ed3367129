"""Every node computes the same A: from a stream of bytes, by integer arithmetic."""

import hashlib
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.training.init_lora import initial_factors, shared_a

BASE = bytes(range(32))
KNOWN = """
import hashlib
from hivelearn.training.init_lora import shared_a
a = shared_a(bytes(range(32)), "roman", "model.layers.0.self_attn.q_proj", 4, 160)
print(hashlib.sha256(a.numpy().tobytes()).hexdigest())
"""


def known():
    return shared_a(BASE, "roman", "model.layers.0.self_attn.q_proj", 4, 160)


def test_the_first_values_are_the_streams_first_integers():
    key = BASE.hex().encode() + b"\0roman\0model.layers.0.self_attn.q_proj\x004"
    stream = hashlib.shake_256(b"hivelearn/shared-a/1\0" + key).digest(2 * 4 * 160)
    integers = [int.from_bytes(stream[i : i + 2], "little") for i in range(0, 1280, 2)]
    assert integers[:4] == [14886, 22874, 6005, 60007]  # pinned: they must never change
    expected = [(2 * n - 65_535) / 65_536 / 160**0.5 for n in integers]
    assert known().reshape(-1).tolist() == pytest.approx(expected, rel=1e-6)


def test_the_same_bits_in_a_process_that_hashes_otherwise():
    here = hashlib.sha256(known().numpy().tobytes()).hexdigest()
    for seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", KNOWN],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,  # against hanging alone: a busy machine imports slowly
        )
        assert out.stdout.strip() == here


@given(st.integers(1, 8), st.integers(1, 64))
def test_values_lie_within_one_over_the_root_of_the_width(rank, d_in):
    a = shared_a(BASE, "roman", "m", rank, d_in)
    assert a.shape == (rank, d_in)
    assert a.dtype is torch.float32
    assert float(a.abs().max()) < d_in**-0.5


def test_values_are_uniform():
    a = shared_a(BASE, "roman", "m", 64, 4096) * 64
    assert float(a.mean()) == pytest.approx(0, abs=0.01)
    assert float(a.var()) == pytest.approx(1 / 3, abs=0.01)


def test_every_part_of_the_key_matters():
    keys = [
        (BASE, "roman", "m", 2, 8),
        (bytes(32), "roman", "m", 2, 8),
        (BASE, "iso", "m", 2, 8),
        (BASE, "roman", "n", 2, 8),
    ]
    made = {shared_a(*key).numpy().tobytes() for key in keys}
    assert len(made) == len(keys)
    longer = shared_a(BASE, "roman", "m", 4, 8)
    assert not torch.equal(longer[:2], shared_a(*keys[0]))


def test_a_training_starts_from_no_change():
    made = initial_factors(BASE, "roman", {"m": (3, 8), "n": (5, 8)}, ["n"], 2)
    assert list(made) == ["n"]
    a, b = made["n"]
    assert torch.equal(a, shared_a(BASE, "roman", "n", 2, 8))
    assert torch.equal(b, torch.zeros(5, 2))
