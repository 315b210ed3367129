"""Two spellings of one module are one module, or refused; never two halves in silence."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.spelling import opened_as_one
from hivelearn.merging.merge import merge
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.origin import Origin
from hivelearn.patch.peft_config import CONFIG_FILE
from hivelearn.testing.models import small_model

Q = "model.layers.0.self_attn.q_proj"
SIZES = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2,
}  # fmt: skip
OTHERS = {
    "inside a vision-language model": "model.language_model.layers.0.self_attn.q_proj",
    "the same before transformers 4.52": "language_model.model.layers.0.self_attn.q_proj",
    "the inner model alone": "layers.0.self_attn.q_proj",
    "inside an unknown model": "brain.model.layers.0.self_attn.q_proj",
}


@pytest.fixture
def one(made):
    return made(1, shapes={Q: (16, 16)})


def _spelled(adapter, name, model=None):
    (pair,) = adapter.factors.values()
    return Adapter({name: pair}, adapter.rank, adapter.alpha, origin=Origin(model=model))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("names") / "base")


@pytest.mark.parametrize("name", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("method", ["linear", "ties", "karcher", "core_ties"])
def test_where_nobody_knows_the_model_two_spellings_are_refused_by_name(one, name, method):
    with pytest.raises(MergeError, match="spelled in two ways") as caught:
        merge([one, _spelled(one, name)], method)
    assert Q in caught.value.what
    assert name in caught.value.what
    assert "model=" in caught.value.remedy


@pytest.mark.parametrize("name", OTHERS.values(), ids=OTHERS)
def test_a_model_decides_how_a_module_is_spelled(base, made, name):
    one = made(1, shapes={Q: (32, 32)})
    merged = merge([one, _spelled(one, name)], model=base)
    assert list(merged.factors) == [Q]
    torch.testing.assert_close(merged.delta(Q), one.delta(Q))


def _peft():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES))
    return get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"]))


def test_an_open_model_among_the_sources_knows_its_names(one):
    merged = merge([_spelled(one, "layers.0.self_attn.q_proj"), _peft()], weights=[1, 1])
    assert list(merged.factors) == [Q]


def test_the_folder_that_all_sources_name_as_their_base_knows_its_names(base, made, tmp_path):
    one = made(1, shapes={Q: (32, 32)})
    for name in ("plain", "inner"):
        _spelled(one, Q if name == "plain" else "layers.0.self_attn.q_proj", str(base)).save(
            tmp_path / name
        )
    told = json.loads((tmp_path / "inner" / CONFIG_FILE).read_text())
    assert told["base_model_name_or_path"] == str(base)
    merged = merge([tmp_path / "plain", tmp_path / "inner"])
    assert list(merged.factors) == [Q]
    torch.testing.assert_close(merged.delta(Q), one.delta(Q))


def test_names_that_stand_together_are_two_modules(made):
    both = {Q: (16, 16), f"teacher.{Q}": (16, 16)}
    merged = merge([made(1, shapes=both), made(2, shapes={Q: (16, 16)})])
    assert sorted(merged.factors) == sorted(both)


def test_modules_of_two_shapes_are_not_one(made):
    first, second = made(1, shapes={Q: (16, 16)}), made(2, shapes={f"draft.{Q}": (8, 8)})
    with pytest.warns(UserWarning, match="no module in common"):
        assert len(merge([first, second]).factors) == 2


def test_names_that_were_held_against_one_signed_base_are_what_they_are(made):
    shapes = [{Q: (16, 16)}, {f"draft.{Q}": (16, 16)}]
    pair = [made(n, shapes=each, base=b"b" * 32) for n, each in enumerate(shapes)]
    assert len(merge(pair).factors) == 2


def test_sources_without_a_module_in_common_are_told_and_merged(made):
    shapes = [{Q: (16, 16)}, {"model.layers.0.mlp.up_proj": (24, 16)}]
    pair = [made(n, shapes=each) for n, each in enumerate(shapes)]
    with pytest.warns(UserWarning, match="source 0 has no module in common"):
        merged, report = merge(pair, report=True)
    assert len(merged.factors) == 2
    assert sorted(note.split(" has ")[0] for note in report.notes) == ["source 0", "source 1"]
    assert "in common" in str(report)


def test_two_modules_of_a_source_that_are_one_in_the_model_are_refused(base, made):
    twice = made(1, shapes={Q: (32, 32), "layers.0.self_attn.q_proj": (32, 32)})
    with pytest.raises(MergeError, match="source 0 holds"):
        merge([twice], model=base)


@pytest.mark.parametrize("model", ["no/such/folder", "some text", 3], ids=str)
def test_what_is_no_model_is_refused(one, model):
    with pytest.raises(MergeError) as caught:
        merge([one], model=model)
    assert "folder" in caught.value.remedy


def test_thousands_of_alike_names_of_a_stranger_are_opened_at_once(made):
    many = {f"model.{'model.' * (n % 20)}x.{n // 20}.q": (2, 2) for n in range(2_000)}
    pair = [made(n, 1, shapes=many) for n in (1, 2)]
    assert [len(source.shapes) for source in opened_as_one(pair)] == [2_000, 2_000]
    other = made(3, 1, shapes={f"{name}k": shape for name, shape in many.items()})
    assert len(opened_as_one([pair[0], other])) == 2
