"""However a mergekit file names its models, it is one merge; and no line of it is passed over."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml

from hivelearn.merging.errors import MergeError
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.mergekit import parsed, read
from hivelearn.merging.recipe.mergekit_models import Places
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.patch.adapter import Adapter

Q = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def folder(made, tmp_path):
    """A folder with adapters a, b and c, and a base that is empty, for nobody opens it."""
    for seed, name in enumerate("abc", start=1):
        made(seed).save(tmp_path / name)
    (tmp_path / "base").mkdir()
    return tmp_path


def config_of(folder, text):
    (folder / "merge.yml").write_text(text)
    return read(folder / "merge.yml")


def task(models, base, rest=""):
    return f"merge_method: task_arithmetic\nmodels: [{models}]\nbase_model: {base}\n{rest}"


def mean(models):
    return f"merge_method: linear\nmodels: [{models}]\n"


TWO = "{{model: {}, parameters: {{weight: 1}}}}, {{model: {}, parameters: {{weight: 0.5}}}}"
NOTATIONS = {
    "paths": TWO.format("a", "b"),
    "paths with slashes": TWO.format("a/", "./b//"),
    "adapters on their base": TWO.format("org/base+a", "org/base+b"),
    "... with slashes": TWO.format("org/base/+a/", "org/base+b/"),
    "mappings": TWO.format(
        "{model: {path: org/base}, lora: {path: a}}", "{model: org/base, lora: b}"
    ),
    "a mapping and a path": TWO.format("{model: {path: org/base}, lora: a}", "org/base+b"),
    "a mapping of a path": TWO.format("{model: a}", "{model: {path: b}}"),
    "the base among them": "{model: org/base}, " + TWO.format("a", "org/base+b"),
    "the base as a mapping": "{model: {model: org/base}}, " + TWO.format("a", "b"),
}


@pytest.mark.parametrize("models", NOTATIONS.values(), ids=NOTATIONS.keys())
def test_every_notation_names_the_same_models(folder, models):
    config = config_of(folder, task(models, "org/base"))
    assert config.sources == (str(folder / "a"), str(folder / "b"))
    assert config.recipe == MergeRecipe("task_arithmetic", (1.0, 0.5))
    assert config.notes == ()


def test_a_path_is_relative_to_the_file_and_then_to_where_one_is(folder, monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "d").mkdir(parents=True)
    (elsewhere / "a").mkdir()
    monkeypatch.chdir(elsewhere)
    assert config_of(folder, task(TWO.format("./a", "d"), "x")).sources == (str(folder / "a"), "d")


def test_a_tilde_is_the_home(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert config_of(folder, task("{model: ~/b}", "~/base")).sources == (str(folder / "b"),)
    with pytest.raises(MergeError, match="home that is not there"):
        config_of(folder, task("{model: ~nobodyatall/b}", "x"))


def test_a_folder_may_have_a_plus_in_its_name(folder):
    (folder / "a").rename(folder / "a+b")
    assert config_of(folder, task("{model: a+b}", "x")).sources == (str(folder / "a+b"),)


def test_a_name_of_the_hub_is_refused_with_what_to_do(folder):
    with pytest.raises(MergeError, match="someone/some-lora is no folder") as caught:
        config_of(folder, task("{model: someone/some-lora}", "x"))
    assert "hf download" in caught.value.remedy


def test_two_names_of_a_base_are_told(folder):
    config = config_of(folder, task(TWO.format("org/base+a", "b"), "./base"))
    (note,) = config.notes
    assert "org/base" in note
    assert "taken for one base" in note


# -- an adapter in base_model ------------------------------------------------------


def theirs(folder, method, models, base, **parameters):
    """Return what mergekit makes of whole models, less the bare base."""
    methods = pytest.importorskip("mergekit.merge_methods")
    bare = torch.randn(20, 24, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    whole = [bare if one is None else bare + delta_of(folder, one) for one in models]
    made = methods.merge_tensors(whole, method, parameters=parameters, base_index=base)
    return made - bare


def delta_of(folder, name):
    return Adapter.load(folder / name).delta(Q).double()


def ours(folder, text):
    config = config_of(folder, text)
    return merge(list(config.sources), replace(config.recipe, rank="stack")).delta(Q).double()


BASED = "{model: org/base+b, parameters: {weight: 0.5}}, {model: c, parameters: {weight: 2}}"


@pytest.mark.parametrize("base", ["org/base+a", "{model: org/base, lora: a/}", "./a"])
@pytest.mark.parametrize("rest", ["", "parameters: {lambda: 0.7}"])
def test_task_vectors_from_a_base_with_an_adapter_are_mergekits(folder, base, rest):
    lam = 0.7 if rest else 1.0
    expected = theirs(folder, "task_arithmetic", "abc", 0, weight=[0.5, 2.0], **{"lambda": lam})
    torch.testing.assert_close(
        ours(folder, task(BASED, base, rest)), expected, atol=1e-4, rtol=1e-4
    )


def test_a_base_with_an_adapter_may_be_listed_and_its_weight_changes_nothing(folder):
    listed = "{model: org/base+a, parameters: {weight: 9}}, " + BASED
    config = config_of(folder, task(listed, "org/base+a"))
    assert config.notes == (
        "'weight' of base_model changes nothing: task_arithmetic takes differences from it",
    )
    expected = theirs(folder, "task_arithmetic", "abc", 0, weight=[0.5, 2.0])
    torch.testing.assert_close(
        ours(folder, task(listed, "org/base+a")), expected, atol=1e-4, rtol=1e-4
    )


def test_a_mean_of_differences_from_an_adapter_is_mergekits(folder):
    text = task(BASED, "org/base+a", "parameters: {normalize: true}")
    expected = theirs(folder, "task_arithmetic", "abc", 0, weight=[0.5, 2.0], normalize=True)
    torch.testing.assert_close(ours(folder, text), expected, atol=1e-4, rtol=1e-4)


def test_to_linear_a_base_with_an_adapter_is_one_model_more(folder):
    text = (
        "merge_method: linear\nbase_model: org/base+a\nmodels: "
        "[{model: org/base+a, parameters: {weight: 1}}, {model: b, parameters: {weight: 3}}]"
    )
    expected = theirs(folder, "linear", "ab", None, weight=[1.0, 3.0])
    torch.testing.assert_close(ours(folder, text), expected, atol=1e-4, rtol=1e-4)


def test_to_linear_a_bare_base_among_the_models_is_a_delta_of_zero(folder):
    text = (
        "merge_method: linear\nmodels: [{model: org/base, parameters: {weight: 1}}, "
        "{model: org/base+b, parameters: {weight: 3}}]"
    )
    expected = theirs(folder, "linear", [None, "b"], None, weight=[1.0, 3.0])
    torch.testing.assert_close(ours(folder, text), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("base", ["org/base+a", "a", "{model: org/base, lora: a}"])
def test_a_slerp_runs_from_the_adapter_in_base_model(folder, base):
    text = "merge_method: slerp\nmodels: [{model: org/base+b}, {model: org/base+a/}]\n"
    config = config_of(folder, f"{text}base_model: {base}\nparameters: {{t: 0.3}}")
    assert config.sources == (str(folder / "a"), str(folder / "b"))
    assert config.recipe.weights == (0.7, 0.3)


SLICED = """
slices:
- sources:
  - {model: org/base+a, layer_range: [0, 32], parameters: {weight: 1}}
  - {model: b, layer_range: [0, 32]}
  parameters: {weight: 3}
"""


def test_one_slice_of_all_layers_is_a_list_of_models(folder):
    config = config_of(folder, "merge_method: linear" + SLICED)
    assert config.sources == (str(folder / "a"), str(folder / "b"))
    assert config.recipe == MergeRecipe("linear", (1.0, 3.0))
    assert config.notes == ("slices: layers 0 to 31 are taken for all that there are",)


def test_a_folder_is_found_by_a_process_that_knows_only_ascii_names(folder):
    (folder / "Größe").mkdir()
    code = (
        "import sys, pathlib; from hivelearn.merging.recipe.mergekit import read; "
        "assert sys.getfilesystemencoding() == 'ascii', sys.getfilesystemencoding(); "
        "read(pathlib.Path(sys.argv[1]))"
    )
    (folder / "merge.yml").write_text(task("{model: Größe}", "x"), encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", code, str(folder / "merge.yml")]
    subprocess.run(command, env=os.environ | ascii_only, check=True, timeout=60)


# -- what is told, and what is refused -----------------------------------------------

ONE = "models: [{model: a, parameters: {weight: 1}}]\n"
TOLD = {
    "int8_mask": ("merge_method: ties\nbase_model: x\n" + ONE + "parameters: {int8_mask: true}",
                  "int8_mask of parameters"),
    "tol": ("merge_method: karcher\n" + ONE + "parameters: {tol: 1.0e-9}", "tol of parameters"),
    "the base's tokenizer": ("merge_method: linear\n" + ONE + "tokenizer_source: base",
                             "tokenizer_source: an adapter has no tokenizer"),
    "the base's tokenizer, newly": ("merge_method: linear\n" + ONE + "tokenizer: {source: base}",
                                    "tokenizer: an adapter has no tokenizer"),
    "what stands under the base": (
        task("{model: x, parameters: {weight: 9}}, {model: a, parameters: {weight: 1}}", "x"),
        "'weight' of base_model changes nothing: task_arithmetic takes differences",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "says"), TOLD.values(), ids=TOLD.keys())
def test_a_line_that_changes_nothing_is_told(folder, text, says):
    (note,) = config_of(folder, text).notes
    assert says in note


REFUSED = {
    "ties from an adapter": ("merge_method: ties\nbase_model: org/x+b\n" + ONE, "has an adapter"),
    "a gradient from an adapter": (task("{model: b, parameters: {weight: [0, 1]}}", "x+a"),
                                   "one plain number"),
    "the bare base beside it": (task("{model: x}, {model: x+b}", "x+a"), "without an adapter"),
    "a bare base of nobody": ("merge_method: ties\nmodels: [{model: x}, {model: x+a}]",
                              "without an adapter"),
    "an architecture": (task("{model: {model: a, override_architecture: Llama}}", "x"),
                        "override_architecture"),
    "a revision": (task("{model: {model: {path: a, revision: main}}}", "x"), "revision"),
    "an unknown part": (task("{model: {path: a}}", "x"), "'path' of model 0 is unknown"),
    "nothing behind the plus": (task("{model: org/base+}", "x"), "lacks what is before or behind"),
    "nothing before it": (task("{model: +a}", "x"), "lacks what is before or behind"),
    "a model without a path": (task("{model: {lora: a}}", "x"), "names no model"),
    "another tokenizer": ("merge_method: linear\n" + ONE + "tokenizer_source: union", "tokenizer"),
    "slices": ("merge_method: linear\n" + ONE + "slices: []", "slices"),
    "two slices": ("merge_method: linear\nslices: [{sources: []}, {sources: []}]", "of pieces"),
    "a slice of nothing": ("merge_method: linear\nslices: [{sources: []}]", "list no models"),
    "some layers": ("merge_method: linear" + SLICED.replace("[0, 32]", "[8, 32]"), "or not all"),
    "other layers": ("merge_method: linear" + SLICED.replace("32", "16", 1), "or not all"),
    "layers in words": ("merge_method: linear" + SLICED.replace("[0, 32]", "all"), "or not all"),
    "a slice on a base of its own": (
        "merge_method: linear" + SLICED + "  base_model: x", "of pieces"),
    "a density in per cent": (
        "merge_method: ties\nmodels: [{model: a, parameters: {weight: 1, density: 53}}]",
        "density 53 is not within"),
    "weights that cancel": (
        mean("{model: x, parameters: {weight: -3}}, {model: x+b, parameters: {weight: 3}}"),
        "cancel"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_no_adapter_can_be_is_refused_by_name(folder, text, says):
    with pytest.raises(MergeError, match=says):
        parsed(yaml.safe_load(text), Places(folder))


MEANT = {
    "tie": "ties",
    "DARE-TIES": "dare_ties",
    "Slerp": "slerp",
    "task arithmetic": "task_arithmetic",
}


@pytest.mark.parametrize(("written", "meant"), MEANT.items())
def test_a_method_that_is_almost_one_is_guessed(written, meant, made):
    with pytest.raises(MergeError) as caught:
        parsed({"merge_method": written, "models": [{"model": "a"}]})
    assert f"Did you mean '{meant}'?" in caught.value.remedy
    with pytest.raises(MergeError) as caught:
        merge([made(1)], method=written)
    assert f"Did you mean '{meant}'?" in caught.value.remedy


def test_a_per_cent_is_guessed():
    with pytest.raises(MergeError) as caught:
        MergeRecipe("ties", params={"density": 53})
    assert "0.53" in caught.value.remedy
