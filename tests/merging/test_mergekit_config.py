"""mergekit's files mean here what they mean there, or they are refused by name."""

import pytest
import yaml

from hivelearn.merging.errors import MergeError
from hivelearn.merging.mergekit_config import Config, parsed, read
from hivelearn.merging.recipe import MergeRecipe
from hivelearn.merging.schedule import ByName, Gradient

TIES = """
merge_method: ties
base_model: base
models:
  - model: base        # no parameters necessary, as their own examples have it
  - model: a
    parameters: {weight: [0, 0.5], density: 0.3}
  - model: b
    parameters:
      weight: [{filter: mlp, value: [0.1, 1e-1]}, {value: 0.5}]
      density: {filter: "*", value: 0.7}
parameters: {lambda: 0.7, normalize: false, int8_mask: true}
dtype: bfloat16
"""


def of(text):
    return parsed(yaml.safe_load(text))


def test_weights_densities_gradients_and_filters_are_read():
    weights = (Gradient((0, 0.5)), ByName((("mlp", Gradient((0.1, 0.1))), ("*", 0.5))))
    params = {"density": (0.3, ByName((("*", 0.7),))), "lam": 0.7, "normalize": False}
    assert of(TIES) == Config(("a", "b"), MergeRecipe("ties", weights, params), "bfloat16")


def test_what_the_file_leaves_out_is_mergekits_default_not_ours():
    recipe = of("merge_method: dare_ties\nbase_model: x\nmodels: [{model: a}, {model: b}]").recipe
    # generalized_task_arithmetic.py: density 1.0, rescale by the L1 norm
    assert recipe["density"] == (1.0, 1.0)
    assert recipe["rescale"] == "l1"
    assert of("merge_method: breadcrumbs\nmodels: [{model: a}]").recipe["rescale"] == "none"
    assert of("merge_method: karcher\nmodels: [{model: a}]").recipe["rounds"] == 10.0
    assert of("merge_method: linear\nmodels: [{model: a}]").dtype == "float32"


def test_a_parameter_for_all_is_overruled_by_a_models_own():
    text = """
    merge_method: della
    models: [{model: a, parameters: {epsilon: 0.1}}, {model: b}]
    parameters: {density: 0.4, epsilon: 0.2, rescale: false}
    """
    recipe = of(text).recipe
    assert recipe["epsilon"] == (0.1, 0.2)
    assert recipe["density"] == (0.4, 0.4)
    assert recipe["rescale"] == "none"


MODELS = "models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 3}}]"
SAME = {
    "a mean": ("linear", "", "linear", {}),
    "a sum": ("linear", "parameters: {normalize: false}", "task_arithmetic", {}),
    "a scaled sum": ("task_arithmetic", "parameters: {lambda: 2}", "task_arithmetic", {"lam": 2.0}),
    "a sum that divides": ("task_arithmetic", "parameters: {normalize: true}", "linear", {}),
}


@pytest.mark.parametrize(("theirs", "rest", "ours", "params"), SAME.values(), ids=SAME.keys())
def test_normalize_decides_between_mean_and_sum(theirs, rest, ours, params):
    recipe = of(f"merge_method: {theirs}\n{MODELS}\n{rest}").recipe
    assert recipe == MergeRecipe(ours, (1.0, 3.0), params)


def test_slerp_runs_from_the_base_model_whatever_the_order():
    text = "merge_method: slerp\nbase_model: b\nmodels: [{model: a}, {model: b}]\n"
    config = of(text + "parameters: {t: [{filter: mlp, value: 0.3}, {value: 0.6}]}")
    assert config.sources == ("b", "a")
    assert config.recipe.weights[1] == ByName((("mlp", 0.3), ("*", 0.6)))


def test_negative_weights_are_asked_for_by_writing_them():
    recipe = of(
        "merge_method: task_arithmetic\nmodels: [{model: a, parameters: {weight: -1}}]"
    ).recipe
    assert recipe.allow_negative


ONE = "merge_method: linear\nmodels: [{model: a}]\n"
REFUSED = {
    "slices": (ONE + "slices: []", "'slices'"),
    "a tokenizer": (ONE + "tokenizer_source: union", "tokenizer"),
    "a chat template": (ONE + "chat_template: x", "chat_template"),
    "modules": (ONE + "modules: {}", "'modules'"),
    "passthrough": ("merge_method: passthrough\nmodels: [{model: a}]", "passthrough"),
    "a list as method": ("merge_method: [ties]\nmodels: [{model: a}]", "has no meaning"),
    "no method": ("models: [{model: a}]", "None has no meaning"),
    "no models": ("merge_method: linear", "lists no models"),
    "a model without a path": ("merge_method: linear\nmodels: [{parameters: {}}]", "no folder"),
    "a model with more": ("merge_method: linear\nmodels: [{model: a, lora: b}]", "'lora'"),
    "a list": ("- a", "no mapping"),
    "parameters in a list": (ONE + "parameters: [1]", "mapping"),
    "a misspelt parameter": (
        "merge_method: ties\nmodels: [{model: a, parameters: {wieght: 1}}]", "wieght"
    ),
    "a word as weight": (
        "merge_method: ties\nmodels: [{model: a, parameters: {weight: x}}]", "'x'"
    ),
    "half of the weights": (
        "merge_method: ties\nmodels: [{model: a, parameters: {weight: 1}}, {model: b}]",
        "weight None",
    ),
    "a filter in a filter": (
        "merge_method: ties\nmodels: [{model: a, parameters: {weight: [{value: [{value: 1}]}]}}]",
        "filter inside a filter",
    ),
    "a filter without a value": (
        "merge_method: ties\nmodels: [{model: a, parameters: {weight: [{filter: x}]}}]",
        "no filter with a value",
    ),
    "nuslerp by rows": (
        "merge_method: nuslerp\nmodels: [{model: a}]\nparameters: {nuslerp_row_wise: true}",
        "nuslerp_row_wise",
    ),
    "a scaled mean": (
        ONE.replace("linear", "task_arithmetic") + "parameters: {normalize: true, lambda: 2}",
        "scaled mean",
    ),
    "a strange dtype": (ONE + "dtype: int8", "int8"),
    "a density of 2": ("merge_method: ties\nmodels: [{model: a, parameters: {density: 2}}]", "2"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_meaning_for_adapters_is_refused_by_name(text, says):
    with pytest.raises(MergeError, match=says):
        of(text)


FILES = {
    "not yaml": b"a: [",
    "binary": b"\x00\xff\xfe",
    "too large": b"#" * ((1 << 20) + 1),
    "nested": b"[" * 5_000,
    "an object": b"!!python/object/apply:os.system [true]",
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())
def test_a_file_that_is_no_configuration_is_refused(tmp_path, data):
    file = tmp_path / "merge.yml"
    file.write_bytes(data)
    with pytest.raises(MergeError):
        read(file)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(MergeError, match="cannot be read"):
        read(tmp_path / "nothing.yml")
