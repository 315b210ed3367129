"""A recipe is a value with one encoding; what cannot work is refused at birth."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn import codec
from hivelearn.errors import UsageError
from hivelearn.merging.errors import MergeError
from hivelearn.merging.recipe.method_table import TABLE, operator
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.recipe.schedule import ByName, Gradient

SOME = settings(max_examples=50, deadline=None, derandomize=True)
RICH = MergeRecipe(
    "core_ties",
    (1 / 3, Gradient((0, 0.5, 1)), ByName((("mlp", 0.5), ("*", Gradient((1, 2)))))),
    {"density": [0.1, 0.2, ByName((("*", 0.3),))], "lam": 2, "normalize": False},
    rank=8,
    energy=0.95,
    seed=7,
)
# Once written, these bytes are what other machines hash: they may never change.
RICH_ID = "d828628e"

BAD = {
    "no such method": ({"method": "slurp"}, "Use one of: linear, task_arithmetic"),
    "a number as method": ({"method": 3}, "no merge method is called 3"),
    "weights in words": ({"weights": "much"}, "not a list of numbers"),
    "a word as weight": ({"weights": ("much",)}, "weight of source 0 'much' is not a number"),
    "None as weight": ({"weights": (None,)}, "not a number"),
    "true as weight": ({"weights": (True,)}, "not a number"),
    "NaN weight": ({"weights": (1.0, math.nan)}, "weight of source 1 nan"),
    "infinite weight": ({"weights": (math.inf,)}, "weight of source 0 inf"),
    "a weight beyond floats": ({"weights": (10**400,)}, "not a finite number"),
    "huge weight": ({"weights": (1001.0,)}, "not within ±1000"),
    "negative weight": ({"weights": (1.0, -0.1)}, "allow_negative=True"),
    "negative in a gradient": ({"weights": (Gradient((1, -1)),)}, "is negative"),
    "all weights zero": ({"weights": (0.0, 0.0)}, "every weight is 0"),
    "257 weights": ({"weights": (1.0,) * 257}, "a merge takes at most 256"),
    "density for linear": ({"params": {"density": 0.5}}, "takes no 'density'"),
    "a misspelt setting": ({"method": "ties", "params": {"densty": 0.5}}, "takes: density, lam"),
    "density 0": ({"method": "ties", "params": {"density": 0.0}}, "density 0 is not within"),
    "density above 1": ({"method": "ties", "params": {"density": 1.01}}, "density 1.01"),
    "density NaN": ({"method": "ties", "params": {"density": math.nan}}, "density nan"),
    "1 for true": ({"method": "ties", "params": {"normalize": 1}}, "not one of False, True"),
    "a word that is none": (
        {"method": "dare_ties", "params": {"rescale": "l3"}},
        "not one of 'probability', 'l1', 'none'",
    ),
    "half a count": ({"method": "karcher", "params": {"rounds": 2.5}}, "not a whole number"),
    "a list for one number": ({"method": "ties", "params": {"lam": [1, 2]}}, "one number for all"),
    "t and weights": (
        {"method": "slerp", "weights": (1, 1), "params": {"t": 0.5}},
        "t and weights",
    ),
    "rank 0": ({"rank": 0}, "rank 0"),
    "rank true": ({"rank": True}, "rank True"),
    "rank 4097": ({"rank": 4097}, "1 … 4096"),
    "rank 2.0": ({"rank": 2.0}, "rank 2.0"),
    "energy 0": ({"energy": 0.0}, "energy 0.0 is not in"),
    "energy above 1": ({"energy": 1.1}, "energy 1.1"),
    "energy of a stack": ({"energy": 0.9, "rank": "stack"}, "stack keeps everything"),
    "an energy of what is not low-rank": ({"method": "ties", "energy": 0.9}, "core_ties"),
    "a stack of what is not low-rank": ({"method": "dare_ties", "rank": "stack"}, "not low-rank"),
    "bytes as weights": ({"weights": b"ab"}, "not a list of numbers"),
    "a seed below 0": ({"seed": -1}, "seed -1"),
    "true as seed": ({"seed": True}, "seed True"),
    "an empty gradient": ({"weights": (lambda: Gradient(()),)}, "1 … 1024 points"),
    "a rule without a name": ({"weights": (lambda: ByName((("", 1.0),)),)}, "no part of a module"),
    "no rule": ({"weights": (lambda: ByName(()),)}, "1 … 256 rules"),
}


@pytest.mark.parametrize(("fields", "says"), BAD.values(), ids=BAD.keys())
def test_a_recipe_that_cannot_work_is_refused_at_birth(fields, says):
    with pytest.raises(MergeError, match=says):
        MergeRecipe(**{n: _called(v) if n == "weights" else v for n, v in fields.items()})


def _called(weights):
    return tuple(w() if callable(w) else w for w in weights) if type(weights) is tuple else weights


def test_a_refusal_is_the_callers_to_mend():
    with pytest.raises(UsageError) as caught:
        MergeRecipe(weights=(-1.0,))
    assert "allow_negative" in caught.value.remedy
    assert MergeRecipe(weights=(-1.0,), allow_negative=True).weights == (-1.0,)


def test_the_encoding_of_a_recipe_never_changes():
    assert RICH.id.hex()[:8] == RICH_ID
    assert MergeRecipe().to_bytes() == codec.encode(EMPTY)


SCHEDULES = st.one_of(
    st.floats(0, 1000),
    st.lists(st.floats(0, 1000), min_size=1, max_size=4).map(lambda p: Gradient(tuple(p))),
    st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.floats(0, 9)), min_size=1).map(
        lambda rules: ByName(tuple(rules))
    ),
)


@SOME
@given(
    st.lists(SCHEDULES, min_size=1, max_size=4).filter(lambda w: w[0] != 0),
    st.floats(0.001, 1),
    st.sampled_from([None, 3, 4096]),
    st.integers(0, 2**63 - 1),
)
def test_reading_what_was_written_gives_the_same_recipe(weights, density, rank, seed):
    try:
        recipe = MergeRecipe("ties", tuple(weights), {"density": density}, rank, seed=seed)
    except MergeError:  # weights that round to nothing
        return
    again = MergeRecipe.from_bytes(recipe.to_bytes())
    assert again == recipe
    assert (hash(again), again.id, again.to_bytes()) == (hash(recipe), recipe.id, recipe.to_bytes())


def test_reading_a_rich_recipe_gives_the_same_recipe():
    assert MergeRecipe.from_bytes(RICH.to_bytes()) == RICH


def test_each_field_changes_the_id():
    fields = [
        {"method": "karcher"},
        {"weights": (1.0,)},
        {"rank": 4},
        {"rank": "stack"},
        {"energy": 0.5},
        {"allow_negative": True},
        {"seed": 1},
        {"method": "ties"},
        {"method": "ties", "params": {"density": 0.2}},
    ]
    assert len({MergeRecipe(**each).id for each in fields} | {MergeRecipe().id}) == 10


def test_numbers_are_kept_in_steps_of_a_millionth_so_that_the_hash_means_them():
    assert MergeRecipe(weights=(1 / 3,)).weights == (0.333333,)
    assert MergeRecipe(weights=(1 / 3,)) == MergeRecipe(weights=(0.333333,))


def test_the_order_in_which_settings_are_given_means_nothing():
    one = MergeRecipe("ties", params={"lam": 2, "density": 0.3})
    assert one == MergeRecipe("ties", params={"density": 0.3, "lam": 2})


def test_slerps_t_is_two_weights_because_sources_have_no_order():
    assert MergeRecipe("slerp", params={"t": 0.25}) == MergeRecipe("slerp", (0.75, 0.25))
    by_name = ByName((("mlp", 0.2), ("*", Gradient((0.0, 1.0)))))
    flipped = ByName((("mlp", 0.8), ("*", Gradient((1.0, 0.0)))))
    assert MergeRecipe("slerp", params={"t": by_name}).weights == (flipped, by_name)


EMPTY = {1: "linear", 2: [], 3: [], 4: None, 5: None, 6: False, 7: 0}
HOSTILE = {
    "an empty map": {},
    "a key more": EMPTY | {8: 0},
    "a number as method": EMPTY | {1: 3},
    "true as weight": EMPTY | {2: [True]},
    "a strange schedule": EMPTY | {2: [[7, 1]]},
    "a rule in a rule": EMPTY | {2: [[1, ["a", [1, ["b", 1]]]]]},
    "a rule of three": EMPTY | {2: [[1, ["a", 1, 1]]]},
    "a setting without a name": EMPTY | {1: "ties", 3: [[1, 1]]},
    "a list": [1],
    "energy true": EMPTY | {5: True},
    "rank in bytes": EMPTY | {4: b"4"},
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_bytes_that_are_no_recipe_are_refused(value):
    with pytest.raises(MergeError):
        MergeRecipe.from_bytes(codec.encode(value))


def test_bytes_that_are_not_canonical_are_refused():
    with pytest.raises(codec.CodecError):
        MergeRecipe.from_bytes(RICH.to_bytes() + b"\0")


def test_a_setting_that_is_not_given_reads_as_the_methods_default():
    assert MergeRecipe("ties")["density"] == 0.2
    assert RICH["lam"] == 2.0
    with pytest.raises(MergeError, match="takes no"):
        MergeRecipe("linear")["density"]


@pytest.mark.parametrize("op", TABLE.values(), ids=TABLE.keys())
def test_a_row_of_the_table_is_found_by_name_loads_and_explains_itself(op):
    assert operator(op.name) is op
    found = op.load()
    assert callable(found)
    assert found.__doc__
    assert op.source
    assert 0 <= op.tolerates < 0.5
    for param in op.params:
        if isinstance(param.default, float):
            assert param.low <= param.default <= param.high
        MergeRecipe(
            op.name, params={param.name: param.default} if param.default is not None else {}
        )


@pytest.mark.parametrize(
    "wrong",
    [{"method": "x" * 9_000}, {"weights": "y" * 9_000}, {"params": {"z" * 9_000: 1}},
     {"rank": "r" * 9_000}, {"seed": [0] * 9_000},
     {"method": "ties", "params": {"normalize": "n" * 9_000}}],
    ids=["method", "weights", "setting", "rank", "seed", "value"],
)  # fmt: skip
def test_a_value_is_shown_short(wrong):
    with pytest.raises(MergeError) as caught:
        MergeRecipe(**wrong)
    assert len(str(caught.value)) < 1_500
