"""Laws of every entrywise merge: what must not change it, and what it must never do."""

import tracemalloc

import pytest
import torch

from hivelearn.merging import blocks
from hivelearn.merging.deltas import DenseDeltas, LoraDelta, LoraDeltas
from hivelearn.merging.errors import MergeError
from hivelearn.merging.recipe.method_table import operator

SHAPE = (61, 23)  # odd, so that no block ends where a vector register does
DRAWN = ["dare_linear", "dare_ties", "della", "della_linear"]
TRIMMED = ["ties", "magnitude_prune", "breadcrumbs", "breadcrumbs_ties"]
ALL = [*TRIMMED, *DRAWN, "sce"]
NORMALISED = ["ties", "della", "sce"]  # by default
KEYS = [bytes([n]) * 32 for n in range(9)]
WEIGHTS = [0.1, 0.9, 0.4, 1.7]


def made(count=4, shape=SHAPE):
    chance = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=chance) * (1 + n) for n in range(count)]


def factors(count=4, shape=SHAPE):
    chance = torch.Generator().manual_seed(8)
    return [
        LoraDelta(
            torch.randn(3, shape[1], generator=chance),
            torch.randn(shape[0], 3, generator=chance),
            0.5,
            1.0,
        )
        for _ in range(count)
    ]


def rows(name, deltas, weights=None, keys=KEYS, **given):
    source = DenseDeltas(deltas) if isinstance(deltas, list) else deltas
    count = source.count
    plain = {"density": 0.4, "gamma": 0.02, "epsilon": 0.1, "select_topk": 0.4}
    each = ("density", "gamma", "epsilon")
    read = {
        key: torch.tensor(value if isinstance(value, list) else [value] * count)
        if key in each
        else value
        for key, value in {**plain, **given}.items()
    }
    shares = torch.tensor(WEIGHTS[:count] if weights is None else weights)
    return operator(name).load()(source, shares, read, keys)


def merged(name, deltas, weights=None, keys=KEYS, **given):
    return torch.cat([block for _, block in rows(name, deltas, weights, keys, **given)()])


def close(one, other, rtol=1e-5):
    torch.testing.assert_close(one, other, rtol=rtol, atol=1e-6 * float(other.abs().max()))


@pytest.mark.parametrize("name", ALL)
def test_one_delta_at_density_one_is_itself(name):
    (delta,) = made(1)
    size = 1.0 if name in NORMALISED else 0.6
    close(merged(name, [delta], [0.6], density=1.0, select_topk=1.0), size * delta)
    close(merged(name, [delta], [0.6], density=1.0, normalize=True), delta)
    close(merged(name, [delta], [0.6], density=1.0, lam=3.0), 3 * size * delta)


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_the_deltas_does_not_matter(name):
    deltas, order = made(), [2, 0, 3, 1]
    density = [0.2, 0.3, 0.5, 0.8]

    def pick(values):
        return [values[n] for n in order]

    shuffled = merged(name, pick(deltas), pick(WEIGHTS), pick(KEYS), density=pick(density))
    close(shuffled, merged(name, deltas, density=density))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("given", [{}, {"rescale": "l1"}, {"normalize": True}])
@pytest.mark.parametrize("source", [DenseDeltas(made()), LoraDeltas(factors())])
def test_not_a_bit_depends_on_how_rows_are_put_in_blocks(held_at_once, name, given, source):
    whole = merged(name, source, **given)
    for height in (8, 9, 13, 20, 53):  # 61 rows: last blocks of 13, 7, 9, 21 and 8
        held_at_once(block=height * SHAPE[1])
        assert torch.equal(merged(name, source, **given), whole)


@pytest.mark.parametrize("name", ALL)
def test_weight_zero_is_absence(name):
    deltas = made()
    there = [deltas[0], deltas[2]]
    absent = [deltas[0], torch.full(SHAPE, float("nan")), deltas[2], deltas[3] * float("inf")]
    without = merged(name, there, [0.3, 0.5], [KEYS[0], KEYS[2]], density=[0.2, 0.6])
    beside = merged(name, absent, [0.3, 0.0, 0.5, 0.0], density=[0.2, 0.9, 0.6, 0.9])
    assert torch.equal(beside, without)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("normalize", [True, False])
def test_when_all_are_absent_nothing_moves(name, normalize):
    out = merged(name, made(2), [0.0, 0.0], normalize=normalize)
    assert torch.equal(out, torch.zeros(SHAPE))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("scale", [2.0**-14, 2.0**10])
def test_the_scale_of_the_deltas_passes_through(name, scale):
    scaled = [delta * scale for delta in made()]
    assert torch.equal(merged(name, scaled), merged(name, made()) * scale)


@pytest.mark.parametrize("name", ALL)
def test_the_scale_of_the_weights_passes_through_or_cancels(name):
    tripled = merged(name, made(), [weight * 3 for weight in WEIGHTS])
    close(tripled, merged(name, made()) * (1.0 if name in NORMALISED else 3.0))
    close(merged(name, made(), normalize=True), merged(name, made(), WEIGHTS, normalize=True))


@pytest.mark.parametrize("name", ALL)
def test_a_change_of_gauge_changes_nothing(name):
    chance = torch.Generator().manual_seed(9)
    turned = []
    for part in factors():
        turn = torch.linalg.qr(torch.randn(3, 3, generator=chance))[0] * 4
        turned.append(LoraDelta(turn @ part.a, part.b @ turn.inverse(), part.scale, part.weight))
    close(merged(name, LoraDeltas(turned)), merged(name, LoraDeltas(factors())), rtol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_factors_are_merged_as_their_products_are(name):
    products = [part.scale * part.b @ part.a for part in factors()]
    close(merged(name, LoraDeltas(factors())), merged(name, products), rtol=1e-4)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_float_type_is_worked_on_in_float32(name, dtype):
    narrow = [delta.to(dtype) for delta in made()]
    assert torch.equal(merged(name, narrow), merged(name, [delta.float() for delta in narrow]))


@pytest.mark.parametrize("name", ALL)
def test_inputs_stay_as_they_were_and_rows_can_be_read_again(name):
    deltas, before = made(), made()
    again = rows(name, deltas)
    first = [block for _, block in again()]
    kept = torch.cat(first)
    for block in first:
        block.zero_()  # what was handed out is the reader's
    assert torch.equal(torch.cat([block for _, block in again()]), kept)
    assert all(torch.equal(one, other) for one, other in zip(deltas, before, strict=True))


@pytest.mark.parametrize("name", DRAWN)
def test_chance_hangs_on_the_keys_alone(name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = merged(name, made())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(merged(name, made()), one)
    assert not torch.equal(merged(name, made(), keys=KEYS[1:]), one)


@pytest.mark.parametrize("name", ["dare_linear", "della_linear"])
@pytest.mark.parametrize("density", [0.25, 0.7])
def test_dividing_by_the_probability_keeps_the_expectation(name, density):
    delta = torch.linspace(1.0, 2.0, 400 * 500).view(400, 500)[torch.randperm(400)]
    total = merged(name, [delta], [1.0], density=density, epsilon=0.2).sum()
    noise = float((delta.square().sum() * (1 / (density - 0.2) - 1)).sqrt())
    assert abs(float(total - delta.sum())) < 4 * noise
    kept = merged(name, [delta], [1.0], density=density, epsilon=0.2) != 0
    assert float(kept.float().mean()) == pytest.approx(density, abs=0.01)


@pytest.mark.parametrize("name", TRIMMED)
def test_something_of_the_smallest_delta_stays(name):
    delta = torch.tensor([[1.0, -4.0], [2.0, 3.0]])  # mergekit's breadcrumbs give all zeros
    out = merged(name, [delta], [1.0], density=0.1, gamma=0.3)
    assert out.count_nonzero() == 1
    assert float(out.abs().max()) == (3.0 if "breadcrumbs" in name else 4.0)


@pytest.mark.parametrize("name", ALL)
def test_a_negative_weight_means_the_negated_delta(name):
    one, two = made(2)
    negative, negated = merged(name, [one, two], [0.5, -0.3]), merged(name, [one, -two], [0.5, 0.3])
    assert torch.equal(negative, negated)


@pytest.mark.parametrize("name", ALL)
def test_weights_that_nearly_cancel_do_not_blow_up(name):
    deltas = made(2)  # mergekit 0.1.5 divides by .001: 1455 x the largest input
    out = merged(name, deltas, [1.0, -0.999], normalize=True, rescale="none")
    largest_input = max(float(delta.abs().max()) for delta in deltas)
    assert float(out.abs().max()) <= largest_input * (1 + 1e-5)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused_before_it_could_be_trimmed(name, bad):
    deltas = made()
    deltas[2][50, 3] = bad
    with pytest.raises(MergeError, match="delta 2 is not finite"):
        merged(name, deltas)
    with pytest.raises(MergeError, match="delta 2 is not finite"):
        merged(name, deltas, density=1.0, select_topk=1.0)
    if name != "sce":
        with pytest.raises(MergeError, match="delta 2 is not finite"):
            merged(name, deltas, rescale="l1")


@pytest.mark.parametrize("name", ALL)
def test_factors_whose_product_overflows_are_refused(name):
    parts = factors()
    parts[1] = LoraDelta(parts[1].a * 1e20, parts[1].b * 1e20, 1.0, 1.0)
    with pytest.raises(MergeError, match="delta 1 is not finite"):
        merged(name, LoraDeltas(parts))


def test_a_sum_that_overflows_is_refused_though_its_terms_are_finite():
    with pytest.raises(MergeError, match="the merged delta is not finite"):
        merged("dare_linear", [torch.full((2, 2), 3e38)] * 2, [1.0, 1.0], density=1.0)


OUT_OF_RANGE = {
    "density 0": ("ties", {"density": 0.0}, "delta 0 has density 0.0"),
    "density above 1": ("dare_ties", {"density": [0.5, 1.5, 0.5, 0.5]}, "delta 1 has density 1.5"),
    "density NaN": ("ties", {"density": float("nan")}, "density nan"),
    "gamma": ("breadcrumbs", {"gamma": 1.1}, "delta 0 has gamma 1.1"),
    "epsilon": ("della", {"epsilon": 0.5}, "delta 0 has .* epsilon 0.5, which leaves the range"),
    "negative epsilon": ("della", {"epsilon": -0.1}, "epsilon -0.1"),
    "no such rescale": ("dare_ties", {"rescale": "l2"}, "rescale 'l2'"),
    "no probability": ("ties", {"rescale": "probability"}, "rescale 'probability'"),
    "select_topk": ("sce", {"select_topk": 0.0}, "select_topk 0.0"),
    "short key": ("dare_ties", {"keys": [b"short"] * 4}, "32 bytes, this one 5"),
}


@pytest.mark.parametrize(("name", "given", "words"), OUT_OF_RANGE.values(), ids=OUT_OF_RANGE.keys())
def test_a_setting_out_of_range_is_refused_by_name(name, given, words):
    with pytest.raises(MergeError, match=words):
        merged(name, made(), **given)


@pytest.mark.parametrize("name", ALL)
def test_memory_is_a_few_blocks_whatever_the_size_of_the_layer(held_at_once, largest, name):
    shape, block = (1000, 400), 1 << 13
    held_at_once(block=block, collected=1 << 15)
    source = LoraDeltas(factors(3, shape))
    with largest as seen:
        merged(name, LoraDeltas(factors(3, (8, 400))))  # torch's watcher loads on first use
        seen.numel = 0
        tracemalloc.start()
        for _ in rows(name, source)():
            pass
        _, peak_bytes = tracemalloc.get_traced_memory()  # numpy reports to it
        tracemalloc.stop()
    assert seen.numel <= block + blocks.ROWS_MIN * shape[1] < shape[0] * shape[1] // 20
    assert peak_bytes < 2_000_000  # the bits of a float32 are counted in 1.5 MB
