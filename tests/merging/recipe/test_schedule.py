"""A setting may differ by depth and by name; it always means one number for one module."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.merging.errors import MergeError
from hivelearn.merging.recipe.schedule import ByName, Gradient, depths_of, resolve

SOME = settings(max_examples=50, deadline=None, derandomize=True)
LAYERS = [f"model.layers.{n}.{name}" for n in range(5) for name in ("mlp.up_proj", "q_proj")]
DEPTHS = depths_of([*LAYERS, "lm_head"])


def test_depth_runs_from_the_first_layer_to_the_last():
    assert DEPTHS["model.layers.0.q_proj"] == 0.0
    assert DEPTHS["model.layers.3.mlp.up_proj"] == 0.75
    assert DEPTHS["model.layers.4.q_proj"] == 1.0
    assert DEPTHS["lm_head"] == 0.0


def test_one_layer_alone_is_the_first():
    assert depths_of(["model.layers.0.q_proj"]) == {"model.layers.0.q_proj": 0.0}


def test_a_gradient_is_linear_between_its_points():
    # mergekit 0.1.5, config.evaluate_setting, for layers 0 … 4 of 5
    values = [resolve(Gradient((0.0, 1.0, 0.5)), f"model.layers.{n}.q_proj", DEPTHS, "w")
              for n in range(5)]  # fmt: skip
    assert values == [0.0, 0.5, 1.0, 0.75, 0.5]


@SOME
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(-1, 2))
def test_a_gradient_stays_within_its_points_and_meets_its_ends(points, depth):
    gradient = Gradient(tuple(points))
    assert min(gradient.points) - 1e-9 <= gradient.at(depth) <= max(gradient.points) + 1e-9
    assert (gradient.at(0.0), gradient.at(1.0)) == (gradient.points[0], gradient.points[-1])


@SOME
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.integers(0, 4))
def test_gradients_are_mergekits(points, layer):
    config = pytest.importorskip("mergekit.config")
    theirs = config.evaluate_setting("", list(points), layer / 4, validate=float)
    ours = resolve(Gradient(tuple(points)), f"model.layers.{layer}.q_proj", DEPTHS, "w")
    assert ours == pytest.approx(theirs, abs=2e-6)


def test_the_first_rule_that_fits_the_name_counts():
    rules = ByName((("mlp", 0.1), ("layers.4", 0.2), ("*", Gradient((1.0, 2.0)))))
    assert resolve(rules, "model.layers.4.mlp.up_proj", DEPTHS, "w") == 0.1
    assert resolve(rules, "model.layers.4.q_proj", DEPTHS, "w") == 0.2
    assert resolve(rules, "model.layers.2.q_proj", DEPTHS, "w") == 1.5


def test_a_module_that_no_rule_speaks_of_is_refused_with_the_rule_to_add():
    with pytest.raises(MergeError, match=r"density says nothing of lm_head") as caught:
        resolve(ByName((("mlp", 0.1),)), "lm_head", DEPTHS, "density")
    assert "*" in caught.value.remedy
