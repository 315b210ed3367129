"""`auto` keeps what scores best on held-out data, and says against what."""

import math

import pytest
import torch

from hivelearn.merging.auto import candidates
from hivelearn.merging.errors import MergeError
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.recipe.schedule import Gradient

Q = "model.layers.0.self_attn.q_proj"


def nearness(target):
    """Return a score that is best at one delta: what held-out data would be to a model."""
    return lambda adapter: -float((adapter.delta(Q) - target).norm())


def test_it_finds_the_recipe_whose_result_is_wanted(made):
    adapters = [made(n) for n in range(3)]
    for recipe in candidates(MergeRecipe(rank=24), 3):
        target = merge(adapters, recipe)
        found = merge(adapters, "auto", validate=nearness(target.delta(Q)), rank=24)
        torch.testing.assert_close(found.delta(Q), target.delta(Q), atol=1e-4, rtol=1e-3)


def test_it_says_why_and_what_it_tried(made):
    adapters = [made(n) for n in range(3)]
    target = 1.5 * merge(adapters, rank=24).delta(Q)
    _, report = merge(adapters, "auto", validate=nearness(target), rank=24, report=True)
    assert "chosen by held-out score: task_arithmetic(lam=1.5)" in report.why
    assert "the best source alone" in report.why
    assert all(name in report.why for name in ("karcher", "core_ties", "robust", "lam=0.5"))


def test_it_says_no_lift_if_a_source_alone_scores_better(made):
    adapters = [made(n) for n in range(3)]
    score = nearness(adapters[1].delta(Q))
    _, report = merge(adapters, "auto", validate=score, rank=24, report=True)
    assert "no lift: source 1 alone" in report.why


def test_of_equals_the_simplest_is_kept(made):
    _, report = merge([made(1), made(2)], "auto", validate=lambda _: 1.0, report=True)
    assert report.method == "task_arithmetic"


def test_weights_rank_and_folder_are_kept(made, tmp_path):
    adapters = [made(1), made(2)]
    out = tmp_path / "out"
    adapter = merge(
        adapters, method="auto", weights=[3, 1], rank=2, out=out, validate=lambda a: -a.rank
    )
    assert adapter.rank == 2
    assert (out / "adapter_config.json").exists()


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(made, score):
    with pytest.raises(MergeError, match="validate returned"):
        merge([made(1), made(2)], method="auto", validate=lambda _: score)


@pytest.mark.parametrize(
    "weights", [[Gradient((0, 1)), 1.0], [1.0, -1.0]], ids=["by layer", "minus"]
)
def test_weights_that_not_every_method_takes_are_refused(made, weights):
    with pytest.raises(MergeError, match="one number ≥ 0"):
        merge([made(1), made(2)], method="auto", weights=weights, validate=lambda _: 0.0,
              allow_negative=True)  # fmt: skip
