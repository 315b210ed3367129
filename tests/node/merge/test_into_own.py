"""Trust bounds what a merge of the node's may move, whatever method its recipe names."""

from dataclasses import replace

import pytest
import torch

from hivelearn.errors import UsageError
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.method_table import TABLE
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.node.merge import into_own
from hivelearn.patch.adapter import Adapter

REFUSED = {
    "weights": (MergeRecipe(weights=(1.0,)), "merges by trust"),
    "densities by source": (MergeRecipe("ties", params={"density": [0.1, 0.2]}), "merges by trust"),
    "t": (MergeRecipe("slerp", params={"t": 0.5}), "merges by trust"),
    "two only": (MergeRecipe("slerp"), "would not bound it"),
    "one that wins": (MergeRecipe("krum"), "would not bound it"),
    "energies": (MergeRecipe("core_sce"), "would not bound it"),
}


@pytest.mark.parametrize(("recipe", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_recipe_that_trust_could_not_bound_is_refused_before_anything_is_judged(recipe, says):
    with pytest.raises(UsageError, match=says):
        into_own.bounded(recipe)


BOUNDED = sorted(n for n, op in TABLE.items() if op.by_weight and not op.rows_max)


@pytest.mark.parametrize("method", BOUNDED)
def test_a_stranger_moves_a_merge_by_what_trust_gives_whatever_the_method(method):
    def adapter(seed: int) -> Adapter:
        chance = torch.Generator().manual_seed(seed)
        shared = torch.Generator().manual_seed(0)  # one A, which some methods demand
        a = torch.randn(4, 24, generator=shared)
        return Adapter({"model.layers.0.q_proj": (a, torch.randn(20, 4, generator=chance))}, 4, 4.0)

    incumbent, stranger = adapter(1), adapter(2)
    recipe = replace(into_own.bounded(MergeRecipe(method)), weights=(0.95, 0.05), rank=20)
    alone = replace(recipe, weights=(0.95,))
    module = "model.layers.0.q_proj"
    moved = merge([incumbent, stranger], recipe).delta(module)
    before = merge([incumbent], alone).delta(module)
    share = float((moved - before).norm() / incumbent.delta(module).norm())
    assert share <= 0.25  # a twentieth, rescaled by chance, and what the direction loses
