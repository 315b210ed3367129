"""What a person who merges for the first time runs into: their own folders, words and habits."""

import json

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig, BertModel

import hivelearn as hl
from hivelearn.merging.errors import MergeError
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe import mergekit
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.recipe.schedule import ByName
from hivelearn.merging.run.options import MergeOptions
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.errors import AdapterError
from hivelearn.patch.origin import Origin
from hivelearn.patch.peft_config import CONFIG_FILE
from hivelearn.testing.models import small_model


def told(folder, **changes):
    """Change what a folder's configuration tells."""
    path = folder / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def trained(model, folder, **settings):
    """Save a LoRA of ``model`` whose B is not zero."""
    torch.manual_seed(len(str(folder)))
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, **settings))
    for name, weight in wrapped.named_parameters():
        if "lora_" in name:
            weight.data.normal_()
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture
def pair(made, tmp_path):
    return [made(n).save(tmp_path / f"one{n}") for n in (1, 2)]


def test_a_merge_of_an_encoder_opens_as_its_sources_do(tmp_path):
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    settings = {"task_type": "FEATURE_EXTRACTION", "target_modules": ["query"]}
    sources = [trained(BertModel(config), tmp_path / name, **settings) for name in ("a", "bb")]
    merge(sources, rank=4, out=tmp_path / "out")
    opened = peft.PeftModel.from_pretrained(BertModel(config), tmp_path / "out")
    assert type(opened) is peft.PeftModelForFeatureExtraction


@pytest.mark.parametrize("out", [True, False], ids=["written as it comes", "saved later"])
@pytest.mark.parametrize(
    ("names", "tasks", "kept"),
    [(("m", "m"), ("SEQ_CLS", "SEQ_CLS"), Origin("SEQ_CLS", "m")),
     (("m", "m"), (None, None), Origin(None, "m")),
     (("m", None), ("CAUSAL_LM", "SEQ_CLS"), Origin()),
     ((["m"], "\x1b[2J"), ("EVIL", {"a": 1}), Origin(None, None))],
)  # fmt: skip
def test_what_all_folders_say_of_task_and_model_is_kept(pair, tmp_path, names, tasks, kept, out):
    for folder, name, task in zip(pair, names, tasks, strict=True):
        told(folder, base_model_name_or_path=name, task_type=task)
    place = tmp_path / "out"
    made = merge(pair, out=place if out else None)
    assert (made if out else Adapter.load(made.save(place))).origin == kept


def test_a_patch_names_no_model_that_peft_would_fetch(made):
    payload = made(1).to_bytes()
    assert Adapter.from_bytes(payload, 8.0).config()["base_model_name_or_path"] is None


def test_adapters_that_name_different_models_are_merged_with_a_warning(pair):
    for folder, name in zip(pair, ("org/a", "org/b"), strict=True):
        told(folder, base_model_name_or_path=name)
    with pytest.warns(UserWarning, match="different base models: org/a, org/b"):
        merge(pair)


def test_the_refused_one_of_many_is_named(pair, tmp_path, made):
    odd = told(made(3).save(tmp_path / "dora"), use_dora=True)
    with pytest.raises(AdapterError, match=r"source 2 \(dora\): the adapter uses use_dora=True"):
        merge([*pair, odd])


def test_a_report_says_why_a_method_was_chosen(made):
    sources = [made(1), made(2)]
    best, report = merge(
        sources, "auto", rank=4, validate=lambda one: float(one.nbytes), report=True
    )
    assert "chosen by held-out score" in report.why
    assert best.rank == 4


def test_a_lora_on_the_output_layer_is_refused_with_the_way_out(tmp_path):
    base = small_model(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    folder = trained(model, tmp_path / "head", target_modules=["q_proj", "lm_head"])
    with pytest.raises(AdapterError) as caught:
        merge([folder])
    assert "save_embedding_layers=False" in caught.value.remedy


def test_two_towers_are_targeted_by_their_full_names(tmp_path):
    names = [f"model.decoder.layers.{n}.self_attn.{x}_proj" for n in range(2) for x in "qv"]
    adapter = Adapter({name: (torch.ones(1, 4), torch.ones(4, 1)) for name in names}, 1, 1.0)
    assert adapter.config()["target_modules"] == sorted(names)
    assert "layers_to_transform" not in adapter.config()


def test_mergekit_s_name_of_a_model_with_an_adapter_means_the_adapter(pair, tmp_path, made):
    plus = made(3).save(tmp_path / "a+b")
    file = tmp_path / "merge.yml"
    rows = [f"base+{pair[0]}", pair[1], plus]
    file.write_text(
        "merge_method: linear\nmodels:\n"
        + "".join(f"- {{model: '{row}', parameters: {{weight: 1}}}}\n" for row in rows)
    )
    assert mergekit.read(file).sources == (str(pair[0]), str(pair[1]), str(plus))


@pytest.mark.parametrize("weights", [np.array([3, 1]), torch.tensor([3.0, 1.0]), (3, 1)], ids=type)
def test_weights_may_be_an_array(made, weights):
    sources = [made(1), made(2)]
    expected = merge(sources, weights=[3, 1])
    assert merge(sources, weights=weights).to_bytes() == expected.to_bytes()


def test_torch_s_own_types_and_plain_dicts_are_understood(made):
    sources = [made(1), made(2)]
    assert merge(sources, dtype=torch.bfloat16).dtype == "BF16"
    assert ByName({"q_proj": 1, "*": 0}) == ByName((("q_proj", 1), ("*", 0)))
    for wrong in ("density=.3", [1], 7):
        with pytest.raises(MergeError, match="no settings by name"):
            MergeRecipe("ties", params=wrong)
    for wrong in ("q_proj", [("a", 1, 2)]):
        with pytest.raises(MergeError, match="no rule"):
            ByName(wrong)


@pytest.mark.parametrize("method", ["karcher", "robust", "geometric_median", "krum"])
def test_who_cannot_be_subtracted_is_named(made, method):
    sources = [made(n) for n in (1, 2, 3, 4)]
    says = f"source 2 has a negative share of the weight, which {method} cannot give"
    with pytest.raises(MergeError, match=says):
        merge(sources, weights=[2, 2, -0.5, 2], method=method, allow_negative=True)


def test_a_model_that_peft_has_wrapped_is_not_merged_into(tmp_path, made):
    model = AutoModelForCausalLM.from_pretrained(small_model(tmp_path / "base"))
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(MergeError, match="wrapped by PEFT"):
        hl.merge_into(wrapped, [made(1)], MergeRecipe(), MergeOptions())
