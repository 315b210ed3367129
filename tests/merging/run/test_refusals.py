"""What cannot be merged is refused before any arithmetic, with its place named."""

import math
from types import SimpleNamespace

import pytest
import torch

from hivelearn.merging.errors import MergeError
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.method_table import TABLE
from hivelearn.merging.recipe.recipe import SOURCES_MAX, MergeRecipe
from hivelearn.patch.adapter import Adapter

Q = "model.layers.0.self_attn.q_proj"


def poisoned(made, value):
    adapter = made(2)
    factors = dict(adapter.factors)
    a = factors[Q][0].clone()
    a[1, 3] = value
    factors[Q] = (a, factors[Q][1])
    return Adapter(factors, adapter.rank, adapter.alpha)


HOSTILE = {
    "NaN": (
        lambda made: [made(1), poisoned(made, math.nan)],
        "source 1 holds NaN or",
    ),
    "infinity": (
        lambda made: [poisoned(made, -math.inf), made(1)],
        "source 0 holds NaN or",
    ),
    "other shape": (lambda made: [made(1), made(2, shapes={Q: (20, 25)})], "20 x 25 in source 1"),
    "transposed": (lambda made: [made(1), made(2, shapes={Q: (24, 20)})], "24 x 20 in source 1"),
    "other base": (
        lambda made: [made(1, base=b"a" * 32), made(2), made(3, base=b"b" * 32)],
        "different base models: 61616161, 62626262",
    ),
    "nothing": (lambda _: [], "no adapter"),
    "a number": (lambda made: [made(1), 3], "source 1, a int, is no adapter"),
    "a wrapper of nothing": (lambda _: [SimpleNamespace(adapter=None)], "is no adapter"),
    "one adapter, no list": (lambda made: made(1), "takes a list"),
    "one path, no list": (lambda _: "folder", "takes a list"),
}


# Those that merge the Bs of one A refuse adapters of different A first.
ANY_A = [name for name, op in TABLE.items() if not op.home.endswith("shared_a")]


@pytest.mark.parametrize("method", ANY_A)
@pytest.mark.parametrize(("sources", "says"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_sources_are_refused_by_every_method(made, sources, says, method):
    if method in ("slerp", "nuslerp") and says.startswith("different"):
        return  # they take two
    with pytest.raises(MergeError, match=says):
        merge(sources(made), method=method)


@pytest.mark.parametrize("method", ANY_A)
@pytest.mark.parametrize("rank", [1, 8])
@pytest.mark.parametrize("signs", [1.0, torch.tensor([1.0, -1, 1, -1])], ids=["inf", "inf - inf"])
def test_finite_factors_whose_product_overflows_are_refused(made, method, rank, signs):
    columns = torch.full((20, 4), 1e30)
    columns[0] *= signs  # in the second case only this row is NaN, the rest is infinite
    huge = {Q: (torch.full((4, 24), 1e30), columns)}
    given = [Adapter(huge, 4, 4e4), made(1)]
    if method in ("krum", "model_stock"):  # they may do without it
        try:
            merged = merge(given, method=method, rank=rank, weights=[1000, 1])
        except MergeError:
            return
        assert all(float(merged.delta(m).abs().max()) < 1e3 for m in merged.factors)
        return
    with pytest.raises(MergeError, match=r"overflow|NaN or infinity|not finite"):
        merge(given, method=method, rank=rank, weights=[1000, 1])


CALLS = {
    "unknown method": ({"method": "slurp"}, "Use one of: linear, task_arithmetic"),
    "density for linear": ({"density": 0.5}, "takes no 'density'"),
    "too few weights": ({"weights": [1.0]}, "weights has length 1, and there are 2 adapters"),
    "too many weights": ({"weights": [1.0] * 3}, "weights has length 3, and there are 2 adapters"),
    "too many densities": (
        {"method": "ties", "density": [0.1] * 3},
        "density has length 3, and there are 2 adapters",
    ),
    "a score without auto": ({"validate": len}, "validate is for method='auto'"),
    "auto without a score": ({"method": "auto"}, "needs something to choose by"),
    "auto with a setting": ({"method": "auto", "lam": 1}, "takes no 'lam'"),
    "a strange dtype": ({"dtype": "int8"}, "dtype 'int8'"),
}


@pytest.mark.parametrize(("settings", "says"), CALLS.values(), ids=CALLS.keys())
def test_settings_that_do_not_fit_the_sources_are_refused(made, settings, says):
    with pytest.raises(MergeError, match=says):
        merge([made(1), made(2)], **settings)


def test_factors_that_overflow_with_their_weight_are_refused(made):
    huge = Adapter({Q: (torch.ones(4, 24), torch.full((20, 4), 1e36))}, 4, 4e4)
    with pytest.raises(MergeError, match="overflows float32"):
        merge([huge, made(1)], rank=1, weights=[1000, 1])


def test_more_sources_than_a_recipe_may_name_are_refused(made):
    with pytest.raises(MergeError, match=r"257 adapters were given, and a merge takes at most 256"):
        merge([made(1)] * (SOURCES_MAX + 1))


@pytest.mark.parametrize(("count", "given"), [(1, "1 was"), (3, "3 were")])
def test_an_arc_between_two_takes_two(made, count, given):
    says = f"'slerp' merges exactly 2 adapters, and {given} given"
    with pytest.raises(MergeError, match=says):
        merge([made(n) for n in range(count)], method="slerp")


def test_what_is_neither_a_method_nor_a_recipe_is_refused_with_what_is(made):
    with pytest.raises(MergeError, match="no merge method is called a list") as caught:
        merge([made(1)], [1, 2])
    assert "linear" in str(caught.value)


@pytest.mark.parametrize(
    "beside",
    [{"weights": [1.0]}, {"rank": 2}, {"density": 0.5}, {"energy": 0.9}, {"seed": 3}],
    ids=min,
)
def test_what_a_recipe_says_itself_is_not_said_beside_it(made, beside):
    with pytest.raises(MergeError, match=f"{min(beside)} is given beside a recipe"):
        merge([made(1)], MergeRecipe("ties"), **beside)
