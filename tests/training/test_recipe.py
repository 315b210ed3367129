"""A recipe that exists can train, and two that train differently have two names."""

import math
from dataclasses import replace

import pytest

from hivelearn.errors import UsageError
from hivelearn.training.recipe import Recipe, match_targets

NAN, INF = math.nan, math.inf
IMPOSSIBLE = [
    {"rank": 0},
    {"rank": 65},
    {"rank": 2.5},
    {"rank": True},
    {"alpha": 0.0},
    {"alpha": NAN},
    {"alpha": INF},
    {"alpha": 1e-9},
    {"steps": 0},
    {"steps": 1_000_001},
    {"steps": 10.0},
    {"batch": 0},
    {"pass_tokens": 0},
    {"rehearsal": -0.1},
    {"rehearsal": NAN},
    {"ends_early": 1},
    {"rate": 0.0},
    {"rate": 1.0},
    {"rate": NAN},
    {"warmup": 1.0},
    {"warmup": -0.1},
    {"floor": 1.1},
    {"beta1": 1.0},
    {"beta2": NAN},
    {"eps": 0.0},
    {"eps": INF},
    {"weight_decay": -1.0},
    {"weight_decay": INF},
    {"clip": 0.0},
    {"clip": INF},
    {"prompt_weight": 1.1},
    {"prompt_weight": NAN},
    {"seed": 0.5},
    {"alpha": "x"},
    {"rate": "fast"},
    {"targets": ()},
    {"targets": []},
    {"targets": ""},
    {"targets": 5},
    {"targets": ("q_proj", 5)},
    {"freeze_a": "no"},
]


@pytest.mark.parametrize("settings", IMPOSSIBLE, ids=str)
def test_an_impossible_recipe_is_refused_with_a_remedy(settings):
    with pytest.raises(UsageError, match="cannot train") as caught:
        Recipe(**settings)
    (name,) = settings
    assert caught.value.remedy.startswith(f"Give {name} as ")


def test_the_ends_of_the_ranges_can_train():
    Recipe(rank=64, warmup=0.0, floor=0.0, beta1=0.0, prompt_weight=0.0, rate=0.5)
    Recipe(rank=1, steps=1, floor=1.0, prompt_weight=1.0)


OTHER = [
    {"rank": 8}, {"alpha": 16.0}, {"targets": "q_proj"}, {"targets": ("q_proj", "v_proj")},
    {"steps": 3}, {"batch": 8}, {"pass_tokens": 8}, {"rate": 0.01}, {"warmup": 0.1},
    {"floor": 0.1}, {"beta1": 0.8}, {"beta2": 0.9}, {"eps": 1e-6}, {"weight_decay": 0.1},
    {"clip": 2.0}, {"prompt_weight": 0.0}, {"rehearsal": 0.0},
    {"ends_early": True}, {"freeze_a": True}, {"seed": 1},
]  # fmt: skip


def test_recipes_that_train_differently_have_different_digests():
    assert {key for change in OTHER for key in change} == set(Recipe.__slots__)
    digests = [Recipe().digest(), *(replace(Recipe(), **change).digest() for change in OTHER)]
    assert len(set(digests)) == len(digests)
    assert Recipe(rank=8).digest() == Recipe(rank=8).digest()


def test_a_list_of_targets_is_as_good_as_a_tuple():
    assert hash(Recipe(targets=["q_proj"])) == hash(Recipe(targets=("q_proj",)))


def test_a_setting_that_is_none_is_refused_with_the_one_that_was_meant():
    with pytest.raises(UsageError, match="no setting 'stpes': did you mean 'steps'") as caught:
        Recipe(stpes=4)
    assert "rank, alpha" in caught.value.remedy
    with pytest.raises(UsageError, match=r"no setting 'xyz'\n"):
        Recipe(xyz=4)
    with pytest.raises(UsageError, match="has 19 settings, not 40"):
        Recipe(*range(40))


NAMES = ["model.0.q_proj", "model.0.up_proj", "model.1.q_proj"]


def test_targets_are_last_parts_of_names():
    assert match_targets("all-linear", NAMES) == NAMES
    assert match_targets("q_proj", NAMES) == ["model.0.q_proj", "model.1.q_proj"]
    assert match_targets(("q_proj", "up_proj"), NAMES) == NAMES


@pytest.mark.parametrize("targets", ["k_proj", "proj", (), "model.0.q_proj"])
def test_targets_that_no_module_has_are_refused_with_those_it_has(targets):
    with pytest.raises(UsageError) as caught:
        match_targets(targets, NAMES)
    assert "q_proj, up_proj" in caught.value.remedy
