"""Merging the B of adapters that have one A, against dense float64 deltas."""

from dataclasses import replace

import pytest
import torch

from hivelearn.merging.deltas import DenseDeltas, LoraDelta
from hivelearn.merging.errors import MergeError
from hivelearn.merging.lowrank.factors import Size
from hivelearn.merging.methods import sparse
from hivelearn.merging.methods.shared_a import (
    common_a,
    shared_a,
    shared_dare_linear,
    shared_dare_ties,
    shared_ties,
)

RULES = {
    "ties": (shared_ties, sparse.ties),
    "dare_ties": (shared_dare_ties, sparse.dare_ties),
    "dare_linear": (shared_dare_linear, sparse.dare_linear),
}
SETTINGS = {"density": torch.tensor([0.3, 0.6, 0.9]), "lam": 1.0, "normalize": True}


def family(dtype=torch.float32):
    """Return three adapters of rank 4 on (40, 32) with one A; scales and weights differ."""
    chance = torch.Generator().manual_seed(0)
    a = torch.randn(4, 32, generator=chance).to(dtype)
    return [
        LoraDelta(
            a.clone(), torch.randn(40, 4, generator=chance).to(dtype), scale, weight, key * 32
        )
        for scale, weight, key in ((1.0, 0.5, b"a"), (2.0, 0.3, b"b"), (0.5, -0.2, b"c"))
    ]


def dense(factors):
    return factors.b.double() @ factors.a.double()


def gap(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_mean_is_exact_and_keeps_rank_and_a(dtype):
    parts = family(dtype)
    merged = shared_a(parts, {}, Size(4))
    wanted = sum(p.weight * p.scale * (p.b.double() @ p.a.double()) for p in parts)
    assert torch.equal(merged.a, parts[0].a.float())
    assert gap(dense(merged), wanted) < 1e-6
    assert merged.error == 0.0
    assert shared_a(parts, {}, Size(2)).a.shape[0] == 2


@pytest.mark.parametrize("name", RULES)
def test_a_rule_works_on_the_scaled_b(name):
    shared, rule = RULES[name]
    parts = family()
    merged = shared(parts, SETTINGS, Size(4))
    weights = torch.tensor([p.weight for p in parts])
    bs = DenseDeltas([p.scale * p.b for p in parts])
    b = torch.cat([block for _, block in rule(bs, weights, SETTINGS, [p.key for p in parts])()])
    assert torch.equal(merged.a, parts[0].a)
    assert torch.equal(merged.b, b)
    assert bool((b == 0).any())


def test_a_scale_is_as_good_as_the_factor_it_multiplies():
    parts = family()
    folded = [replace(p, b=p.scale * p.b, scale=1.0) for p in parts]
    for shared, _ in RULES.values():
        assert torch.equal(shared(parts, SETTINGS, Size(4)).b, shared(folded, SETTINGS, Size(4)).b)


def test_one_delta_stays_itself():
    only = [replace(family()[1], weight=1.0)]
    merged = shared_ties(only, {**SETTINGS, "density": torch.tensor([1.0])}, Size(4))
    assert gap(dense(merged), 2.0 * only[0].b.double() @ only[0].a.double()) < 1e-6


def test_saving_and_loading_may_change_the_last_bits_of_a():
    parts = family()
    parts[2] = replace(parts[2], a=parts[2].a * (1 + 2e-7))
    assert torch.equal(common_a(parts), parts[0].a)


@pytest.mark.parametrize(
    "other",
    [
        lambda a: a * (1 + 1e-4),
        lambda a: -a,
        lambda a: a[:3],
        lambda a: a.flip(0),
        torch.zeros_like,
        lambda a: torch.full_like(a, float("nan")),
    ],
    ids=["scaled", "negated", "rank", "turned", "zero", "nan"],
)
@pytest.mark.parametrize("shared", [shared_a, shared_ties, shared_dare_ties, shared_dare_linear])
def test_another_a_is_refused_by_name_with_a_remedy(shared, other):
    parts = family()
    a = other(parts[1].a)
    parts[1] = replace(parts[1], a=a, b=parts[1].b[:, : len(a)])
    with pytest.raises(MergeError, match="delta 1 does not share its A") as caught:
        shared(parts, SETTINGS, Size(4))
    assert caught.value.delta == 1
    assert "freeze_a=True" in caught.value.remedy
