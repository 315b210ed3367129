"""The screen lets honest patches through and names module, measure and limit otherwise."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.gate.norms import delta_norms, nonfinite, product_norm, whole_norm
from hivelearn.gate.screen import ScreenLimits, Surroundings, screen
from hivelearn.patch.adapter import Adapter

BASE = b"b" * 32
Q, V = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"


def adapter_of(seed=0, *, size=1.0, base=BASE, rank=4, modules=(Q, V), dtype=torch.float32):
    chance = torch.Generator().manual_seed(seed)
    factors = {
        module: (
            torch.randn(rank, 24, generator=chance).to(dtype),
            (size * torch.randn(20, rank, generator=chance)).to(dtype),
        )
        for module in modules
    }
    return Adapter(factors, rank, 8.0, base)


def altered(adapter, module, *, a=None, b=None):
    factors = dict(adapter.factors)
    old_a, old_b = factors[module]
    factors[module] = (old_a if a is None else a(old_a), old_b if b is None else b(old_b))
    return Adapter(factors, adapter.rank, adapter.alpha, adapter.base)


def with_value(value):
    def write(factor):
        changed = factor.clone()
        changed[1, 2] = value
        return changed

    return write


COHORT = tuple(delta_norms(adapter_of(seed)) for seed in range(10, 15))
PLAIN = Surroundings(BASE)
AMONG_FRIENDS = Surroundings(BASE, trusted=COHORT)
ON_WEIGHTS = Surroundings(BASE, weights={Q: 20.0, V: 20.0})  # an honest change here is about 90
TEN_IN_ONE = altered(adapter_of(), V, b=lambda b: 10 * b)
STRICT = ScreenLimits(rank_max=3)
SMALL = ScreenLimits(payload_max_bytes=100)

REFUSED = {
    "other base": (adapter_of(base=b"c" * 32), PLAIN, None, "policy.base", "nobody"),
    "no base": (adapter_of(base=None), PLAIN, None, "policy.base", "nobody"),
    "rank": (adapter_of(), PLAIN, STRICT, "policy.rank", "nobody"),
    "size": (adapter_of(), PLAIN, SMALL, "policy.size", "nobody"),
    "NaN in A": (
        altered(adapter_of(), Q, a=with_value(math.nan)), PLAIN, None, "num.nonfinite", "author"
    ),
    "infinity in B": (
        altered(adapter_of(), V, b=with_value(-math.inf)), PLAIN, None, "num.nonfinite", "author"
    ),
    "nothing at all": (adapter_of(size=0.0), PLAIN, None, "num.zero", "nobody"),
    "less than its weights can feel": (
        adapter_of(size=1e-9), ON_WEIGHTS, None, "num.zero", "nobody"
    ),
    "large on its weight": (adapter_of(size=4.0), ON_WEIGHTS, None, "norm.base", "author"),
    "ten times in one module": (TEN_IN_ONE, AMONG_FRIENDS, None, "norm.module", "author"),
    "five times everywhere": (adapter_of(size=5.0), AMONG_FRIENDS, None, "norm.module", "author"),
    "large where nobody else is": (
        adapter_of(size=8.0, modules=["model.layers.1.mlp.up_proj"]),
        AMONG_FRIENDS,
        None,
        "norm.whole",
        "author",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("adapter", "around", "limits", "code", "fault"), REFUSED.values(), ids=REFUSED.keys()
)
def test_what_may_not_pass_is_refused_by_its_rule(adapter, around, limits, code, fault):
    verdict = screen(adapter, around, limits)
    assert (verdict.accepted, verdict.code, verdict.fault) == (False, code, fault)
    if code == "num.zero":
        assert verdict.measured <= verdict.limit
    elif code != "policy.base":
        assert verdict.measured > verdict.limit


PASSES = {
    "alone": (adapter_of(), PLAIN),
    "among friends": (adapter_of(), AMONG_FRIENDS),
    "three times as large": (adapter_of(size=3.0), AMONG_FRIENDS),
    "a small change": (adapter_of(size=1e-5), AMONG_FRIENDS),
    "on its weights": (adapter_of(), ON_WEIGHTS),
    "on weights unknown": (adapter_of(size=1e6), Surroundings(BASE, weights={"other": 1.0})),
    "too few friends": (adapter_of(size=50.0), Surroundings(BASE, trusted=COHORT[:3])),
    "bfloat16": (adapter_of(dtype=torch.bfloat16), AMONG_FRIENDS),
}


@pytest.mark.parametrize(("adapter", "around"), PASSES.values(), ids=PASSES.keys())
def test_what_is_honest_passes(adapter, around):
    verdict = screen(adapter, around)
    assert (verdict.accepted, verdict.code) == (True, "screen.pass"), verdict.why


def test_a_refusal_names_the_module_and_both_figures():
    verdict = screen(TEN_IN_ONE, AMONG_FRIENDS)
    middle = sorted(each[V] for each in COHORT)[2]
    assert verdict.limit == pytest.approx(4 * middle)
    assert verdict.measured == pytest.approx(float(TEN_IN_ONE.delta(V).norm()), rel=1e-5)
    assert verdict.why.startswith(f"{V}: change of norm ")


def test_a_module_that_trusted_patches_leave_alone_may_move_a_little():
    still = [{Q: 90.0, V: 0.0}] * 4
    moved = altered(adapter_of(), V, b=lambda b: 0.01 * b)  # a norm of about .9; 3.6 is allowed
    assert screen(moved, Surroundings(BASE, trusted=still)).accepted
    assert screen(adapter_of(), Surroundings(BASE, trusted=still)).code == "norm.module"


def test_among_trusted_patches_that_change_nothing_a_change_stands_out():
    nothing = Surroundings(BASE, trusted=[{Q: 0.0, V: 0.0}] * 4)
    verdict = screen(adapter_of(), nothing)
    assert (verdict.code, verdict.limit) == ("norm.module", 0.0)


@given(st.integers(0, 10_000), st.integers(1, 8), st.floats(1e-3, 1e3))
def test_the_gram_norm_is_the_dense_norm(seed, rank, size):
    adapter = adapter_of(seed, size=size, rank=rank)
    norms = delta_norms(adapter)
    for module, (a, b) in adapter.factors.items():
        dense = adapter.scale * float((b.double() @ a.double()).norm())
        assert norms[module] == pytest.approx(dense, rel=1e-5)
    assert whole_norm(norms) == pytest.approx(math.hypot(*norms.values()))


@pytest.mark.parametrize("size", [1e3, 1e6, 1e12])
def test_a_change_cannot_hide_behind_factors_that_cancel(size):
    # b @ a = size·(u - u)·v + small: in the Grams the small part drowns in rounding.
    chance = torch.Generator().manual_seed(1)
    u, v, small = (torch.randn(n, 1, generator=chance).double() for n in (20, 24, 24))
    a = torch.cat([size * v.T, size * v.T + small.T])
    b = torch.cat([size * u, -size * u], dim=1)
    assert product_norm(a, b) >= float((b @ a).norm()) * (1 - 1e-9)
    assert product_norm(a, b) >= size * float(u.norm() * small.norm()) * 0.99


def test_every_broken_module_is_listed():
    broken = altered(altered(adapter_of(), Q, a=with_value(math.nan)), V, b=with_value(math.inf))
    assert nonfinite(broken) == (Q, V)
    assert nonfinite(adapter_of()) == ()
