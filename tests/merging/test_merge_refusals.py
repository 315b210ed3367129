"""What cannot be merged is refused before any arithmetic, with its place named."""

import math
from types import SimpleNamespace

import pytest
import torch

from hivelearn.errors import UsageError
from hivelearn.merging.merge import merge
from hivelearn.merging.plan import MergeError, MergeRecipe
from hivelearn.merging.table import TABLE, operator
from hivelearn.patch.adapter import Adapter

Q = "model.layers.0.self_attn.q_proj"

BAD_RECIPES = {
    "no adapter": ({"weights": ()}, "no adapter was given"),
    "a word as weight": ({"weights": ("much",)}, "not numbers"),
    "None as weight": ({"weights": (None,)}, "not numbers"),
    "NaN weight": ({"weights": (1.0, math.nan)}, "weight nan of adapter 1"),
    "infinite weight": ({"weights": (math.inf,)}, "weight inf of adapter 0"),
    "huge weight": ({"weights": (1001.0,)}, "not within ±1000"),
    "negative weight": ({"weights": (1.0, -0.1)}, "is negative"),
    "all weights zero": ({"weights": (0.0, 0.0)}, "every weight is 0"),
    "density 0": ({"density": 0.0}, "density 0.0"),
    "density NaN": ({"density": math.nan}, "density nan"),
    "density above 1": ({"density": 1.01}, "density 1.01"),
    "rank 0": ({"rank": 0}, "rank 0"),
    "rank true": ({"rank": True}, "rank True"),
    "rank 65": ({"rank": 65}, "1 … 64"),
    "rank 2.0": ({"rank": 2.0}, "rank 2.0"),
}


@pytest.mark.parametrize(("fields", "says"), BAD_RECIPES.values(), ids=BAD_RECIPES.keys())
def test_a_recipe_that_cannot_work_is_refused_at_birth(fields, says):
    with pytest.raises(MergeError, match=says):
        MergeRecipe("linear", **{"weights": (1.0,), **fields})


def test_a_refusal_is_the_callers_to_mend_and_says_how():
    with pytest.raises(UsageError, match="allow_negative=True"):
        MergeRecipe("linear", (-1.0,))
    assert MergeRecipe("linear", (-1.0,), allow_negative=True).mass == 1.0


def test_the_mean_of_nothing_is_refused():
    with pytest.raises(MergeError, match="no adapter"):
        MergeRecipe.mean(0)


def poisoned(made, value):
    adapter = made(2)
    factors = dict(adapter.factors)
    a = factors[Q][0].clone()
    a[1, 3] = value
    factors[Q] = (a, factors[Q][1])
    return Adapter(factors, adapter.rank, adapter.alpha)


HOSTILE = {
    "NaN": (lambda made: [made(1), poisoned(made, math.nan)], "adapter 1 holds NaN"),
    "infinity": (lambda made: [poisoned(made, -math.inf)], "adapter 0 holds NaN or infinity"),
    "other shape": (lambda made: [made(1), made(2, shapes={Q: (20, 25)})], "20 x 25 in adapter 1"),
    "transposed": (lambda made: [made(1), made(2, shapes={Q: (24, 20)})], "24 x 20 in adapter 1"),
    "other base": (
        lambda made: [made(1, base=b"a" * 32), made(2), made(3, base=b"b" * 32)],
        "different base models: 61616161, 62626262",
    ),
    "nothing": (lambda _: [], "no adapter"),
    "a number": (lambda made: [made(1), 3], "a int is no adapter"),
    "a wrapper of nothing": (lambda _: [SimpleNamespace(adapter=None)], "is no adapter"),
    "one adapter, no list": (lambda made: made(1), "takes a list"),
    "one path, no list": (lambda _: "folder", "takes a list"),
}


@pytest.mark.parametrize("method", TABLE)
@pytest.mark.parametrize(("sources", "says"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_sources_are_refused_by_every_method(made, sources, says, method):
    with pytest.raises(MergeError, match=says):
        merge(sources(made), method=method)


@pytest.mark.parametrize("method", TABLE)
@pytest.mark.parametrize("rank", [1, 8])
@pytest.mark.parametrize("signs", [1.0, torch.tensor([1.0, -1, 1, -1])], ids=["inf", "inf - inf"])
def test_finite_factors_whose_product_overflows_are_refused(made, method, rank, signs):
    columns = torch.full((20, 4), 1e30)
    columns[0] *= signs  # in the second case only this row is NaN, the rest is infinite
    huge = {Q: (torch.full((4, 24), 1e30), columns)}
    with pytest.raises(MergeError, match="overflows float32"):
        merge([Adapter(huge, 4, 4e4), made(1)], method=method, rank=rank, weights=[1000, 1])


CALLS = {
    "unknown method": ({"method": "slurp"}, "Use one of: linear, ties"),
    "density for linear": ({"density": 0.5}, "takes no density"),
    "too few weights": ({"weights": [1.0]}, "1 weights for 2 adapters"),
    "too many weights": ({"weights": [1.0] * 3}, "3 weights for 2 adapters"),
}


@pytest.mark.parametrize(("settings", "says"), CALLS.values(), ids=CALLS.keys())
def test_settings_that_do_not_fit_the_sources_are_refused(made, settings, says):
    with pytest.raises(MergeError, match=says):
        merge([made(1), made(2)], **settings)


def test_every_row_of_the_table_is_found_by_its_own_name():
    assert [operator(name).name for name in TABLE] == list(TABLE)
    assert all(0 <= op.tolerates < 0.5 and op.source for op in TABLE.values())


def test_factors_that_overflow_with_their_weight_are_refused(made):
    huge = Adapter({Q: (torch.ones(4, 24), torch.full((20, 4), 1e36))}, 4, 4e4)
    with pytest.raises(MergeError, match="overflows float32"):
        merge([huge, made(1)], rank=1, weights=[1000, 1])
