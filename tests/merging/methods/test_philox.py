"""A mask is a function of key and place: alike on any machine, in any chunks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging.errors import MergeError
from hivelearn.merging.methods.philox import bernoulli, random_words

KEY = bytes(range(32))
WORD = (1 << 64) - 1
SOME = settings(max_examples=25, deadline=None, derandomize=True)

# Random123's kat_vectors, philox4x64 with ten rounds: (counter, key) -> output.
KNOWN = [
    ([0] * 4, [0] * 2, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
    ([WORD] * 4, [WORD] * 2, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0"),
    (
        [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],
        [0x452821E638D01377, 0xBE5466CF34E90C6C],
        "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
    ),
]


def philox(counter, key):
    """Philox 4x64-10 from the paper, in whole numbers."""
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [
            (second >> 64) ^ counter[1] ^ key[0],
            second & WORD,
            (first >> 64) ^ counter[3] ^ key[1],
            first & WORD,
        ]
        key = [(key[0] + 0x9E3779B97F4A7C15) & WORD, (key[1] + 0xBB67AE8584CAA73B) & WORD]
    return counter


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_the_reference_gives_the_published_vectors(counter, key, words):
    assert " ".join(f"{word:016x}" for word in philox(counter, key)) == words


@pytest.mark.parametrize(("row", "width"), [(0, 8), (3, 8), (7, 13), (100_000, 1), (2, 40)])
def test_every_row_is_philox_at_its_own_counter(row, width):
    words = [int.from_bytes(KEY[n : n + 8], "little") for n in range(0, 32, 8)]
    counters = (width + 7) // 8
    drawn = [philox([1 + row * counters + n, 0, *words[2:]], words[:2]) for n in range(counters)]
    halves = [half for four in drawn for word in four for half in (word & 0xFFFFFFFF, word >> 32)]
    assert random_words(KEY, slice(row, row + 1), width).tolist() == [halves[:width]]


@SOME
@given(st.integers(1, 40), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_a_mask_is_the_same_in_any_chunks_and_any_order(width, heights):
    whole = bernoulli(KEY, slice(0, sum(heights)), width, 0.4)
    for n in reversed(range(len(heights))):
        place = slice(sum(heights[:n]), sum(heights[: n + 1]))
        assert torch.equal(bernoulli(KEY, place, width, 0.4), whole[place])


@pytest.mark.parametrize("probability", [0.001, 0.2, 0.5, 0.97])
def test_the_share_that_stays_is_the_probability(probability):
    mask = bernoulli(KEY, slice(0, 500), 400, probability)
    noise = np.sqrt(probability * (1 - probability) / mask.numel())
    assert abs(float(mask.float().mean()) - probability) < 4 * noise


def test_each_entry_may_have_its_own_probability():
    one = bernoulli(KEY, slice(4, 9), 11, 0.25)
    assert torch.equal(one, bernoulli(KEY, slice(4, 9), 11, torch.full((5, 11), 0.25)))
    halves = torch.tensor([0.0, 1.0]).repeat(5, 3)
    assert torch.equal(bernoulli(KEY, slice(4, 9), 6, halves), halves.bool())


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_certainty_has_no_exceptions(probability):
    mask = bernoulli(KEY, slice(0, 100), 100, probability)
    assert bool((mask == bool(probability)).all())


@pytest.mark.parametrize("place", [0, 8, 16, 24, 31])
def test_every_byte_of_a_key_counts(place):
    other = bytes(byte ^ (n == place) for n, byte in enumerate(KEY))
    one, two = (bernoulli(key, slice(0, 200), 200, 0.5) for key in (KEY, other))
    assert abs(float((one == two).float().mean()) - 0.5) < 4 * 0.5 / 200


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_of_another_length_is_refused(key):
    with pytest.raises(MergeError, match=f"32 bytes, this one {len(key)}"):
        bernoulli(key, slice(0, 1), 1, 0.5)
