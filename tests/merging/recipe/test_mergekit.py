"""mergekit's files mean here what they mean there, or they are refused by name."""

import pytest
import torch
import yaml

from hivelearn.merging.errors import MergeError
from hivelearn.merging.recipe.mergekit import Config, parsed, read
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.recipe.schedule import ByName, Gradient

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
    told = ("int8_mask of parameters says how mergekit computes, and changes nothing here",)
    recipe = MergeRecipe("ties", weights, params)
    assert of(TIES) == Config(("a", "b"), recipe, "bfloat16", told)


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


def halves(base):
    """A linear merge of m0 and m1 at a quarter each, where ``base`` says what the base has."""
    rows = "{model: m0, parameters: {weight: .25}}, {model: m1, parameters: {weight: .25}}"
    return f"merge_method: linear\nbase_model: b\nmodels: [{base}{rows}]\n"


LISTED = halves("{model: b, parameters: {weight: .5}}, ")


def test_linear_counts_its_base_as_a_model_without_a_delta():
    methods = pytest.importorskip("mergekit.merge_methods")
    one, two = torch.randn(5, 3), torch.randn(5, 3)
    weights = {"weight": [0.5, 0.25, 0.25]}
    theirs = methods.merge_tensors([torch.zeros(5, 3), one, two], "linear", parameters=weights)
    config = of(LISTED)
    assert config.sources == ("m0", "m1")
    assert config.recipe.method == "task_arithmetic"
    first, second = config.recipe.weights
    torch.testing.assert_close(first * one + second * two, theirs)


def test_a_base_that_is_not_listed_counts_with_the_weight_of_all():
    text = "merge_method: linear\nbase_model: b\nmodels: [{model: m0}, {model: m1}]\n"
    recipe = of(text + "parameters: {weight: 2}").recipe
    assert recipe == MergeRecipe("task_arithmetic", (1 / 3, 1 / 3))


def test_a_base_without_weight_or_in_a_plain_sum_changes_nothing():
    nothing = LISTED.replace("weight: .5}", "weight: 0}").replace(": .25", ": [0, .25]", 1)
    assert of(nothing).recipe == MergeRecipe("linear", (Gradient((0, 0.25)), 0.25))
    plain = of(LISTED + "parameters: {normalize: false}").recipe
    assert plain == MergeRecipe("task_arithmetic", (0.25, 0.25))


MODULES = (
    "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.q_proj_norm", "q_proj.x",
    "lm_head", "model.layers.1.mlp.w1", "model.layers.1.mlp", "weight.x", "a.weight",
)  # fmt: skip
FILTERS = (
    "q_proj.weight", "q_proj", "q_proj.", "q_proj.w", "mlp.w", "mlp.weight", "weight", ".weight",
    ".w", "e", "", "*", "layers.1", "x.weights", "lm_head.weight", "a.weight.weight", "layers.1.",
)  # fmt: skip


@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_takes_the_tensors_that_it_takes_in_mergekit(text):
    config = pytest.importorskip("mergekit.config")
    setting = [config.ConditionalParameter(value=1.0, filter=text)]
    value = [{"filter": text, "value": 1}, {"value": 0}]
    one = {"model": "a", "parameters": {"weight": value}}
    (weight,) = parsed({"merge_method": "linear", "models": [one]}).recipe.weights
    for module in MODULES:
        theirs = config.evaluate_setting(f"{module}.weight", setting, validate=float)
        assert weight.of(module) == (theirs or 0.0), module


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
        "b has no weight, and others have one",
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
    "a shared setting under a model": (
        "merge_method: ties\nmodels: [{model: a, parameters: {lambda: 2}}]", "lambda stands under"
    ),
    "agreement under a model": (
        "merge_method: ties\nmodels: [{model: a, parameters: {normalize: false}}]", "normalize stan"
    ),
    "a mean under a model": (
        "merge_method: linear\nmodels: [{model: a, parameters: {normalize: false}}]", "no 'normali"
    ),
    "rescale under a model": (
        "merge_method: della\nmodels: [{model: a, parameters: {rescale: false}}]", "rescale stands"
    ),
    "top k under a model": (
        "merge_method: sce\nmodels: [{model: a, parameters: {select_topk: .1}}]", "select_topk stan"
    ),
    "t under a model": (
        "merge_method: slerp\nmodels: [{model: a, parameters: {t: .1}}, {model: b}]", "t stands"
    ),
    "rescale in a list": (
        "merge_method: della\nmodels: [{model: a}]\nparameters: {rescale: [true]}", "rescale a list"
    ),
    "a mean in words": (ONE + "parameters: {normalize: 'no'}", "normalize 'no' is neither"),
    "a mean with lambda": (ONE + "parameters: {normalize: false, lambda: 2}", "no lambda"),
    "a filter that is no text": (
        ONE + "parameters: {weight: [{filter: 0, value: 1}]}", "filter 0 is no part"
    ),
    "a filter as a pattern": (
        ONE + "parameters: {weight: [{filter: q_proj$, value: 1}]}", "no part of a tensor"
    ),
    "a base without a weight": (halves("{model: b}, "), "it has no weight"),
    "a base not listed": (halves(""), "it has no weight"),
    "a base by filters": (
        LISTED.replace("weight: .5", "weight: {filter: mlp, value: .5}"), "one plain number"
    ),
    "a gradient beside a base": (LISTED.replace(": .25", ": [0, .25]", 1), "one plain number"),
    "a base that cancels": (LISTED.replace("weight: .5", "weight: -.5"), "cancel"),
    "a base alone": ("merge_method: ties\nbase_model: a\nmodels: [{model: a}]", "but base_model"),
    "a base as a list": (ONE + "base_model: [a]", "base_model a list"),
    "karcher with a base": (ONE.replace("linear", "karcher") + "base_model: b", "karcher takes"),
    "slerp from elsewhere": (
        "merge_method: slerp\nbase_model: x\nmodels: [{model: a}, {model: b}]", "not among"
    ),
    "a base that ties would not see": (
        "merge_method: ties\nbase_model: b\nmodels: [{model: b, parameters: {weight: 1}}]",
        "no models but base_model",
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
    "no date": b"a: 2001-99-99",
    "no boolean": b"!!bool x",
    "no number": b"!!int ''",
    "a number without end": b"a: " + b"9" * 5_000,
    "a list in itself": b"models: &a [*a]",
    "merged upon itself": b"&a {<<: *a}",
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
