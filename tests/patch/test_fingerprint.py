"""One model has one fingerprint however it is cut into files; another function has another."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM as Auto
from transformers import (
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from hivelearn.patch.fingerprint import of_folder

SMALL = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SMALL),
    "llama tied": lambda: LlamaConfig(**SMALL, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(**SMALL),
    "gemma2": lambda: Gemma2Config(**SMALL),
    "gpt2": lambda: GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2),
}
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def _save(config, folder, **how):
    torch.manual_seed(0)
    Auto.from_config(config).save_pretrained(folder, **how)
    vocabulary = {chr(97 + number): number for number in range(26)} | {"[UNK]": 26}
    engine = Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=engine, unk_token="[UNK]")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return _save(CONFIGS["llama"](), tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(saved, tmp_path):
    """A folder of one's own to damage."""
    return shutil.copytree(saved, tmp_path / "model")


@pytest.mark.parametrize("name", CONFIGS)
def test_sharding_does_not_count(tmp_path, name):
    one = _save(CONFIGS[name](), tmp_path / "one")
    many = _save(CONFIGS[name](), tmp_path / "many", max_shard_size="4KB")
    assert len(list(many.glob("*.safetensors"))) > 2
    assert of_folder(one) == of_folder(many)


def test_models_of_other_architectures_differ(tmp_path):
    prints = {of_folder(_save(make(), tmp_path / name)) for name, make in CONFIGS.items()}
    assert len(prints) == len(CONFIGS)
    assert all(len(print_) == 32 for print_ in prints)


def test_what_is_read_back_and_saved_again_is_the_same_model(saved, tmp_path):
    Auto.from_pretrained(saved).save_pretrained(tmp_path / "again")
    PreTrainedTokenizerFast.from_pretrained(saved).save_pretrained(tmp_path / "again")
    assert of_folder(tmp_path / "again") == of_folder(saved)


# --- what counts and what does not --------------------------------------------------------


def _json(name, change):
    def apply(folder):
        table = json.loads((folder / name).read_text())
        change(table)
        (folder / name).write_text(json.dumps(table))

    return apply


def _tensors(change, name="model.safetensors"):
    def apply(folder):
        tensors = load_file(folder / name)
        change(tensors)
        save_file(tensors, folder / name, metadata={"format": "pt"})

    return apply


def _one_bit(tensors):
    name = sorted(tensors)[3]
    bits = tensors[name].view(torch.int32).clone()
    bits.view(-1)[-1] ^= 1
    tensors[name] = bits.view(torch.float32)


def _rename(tensors):
    tensors["model.norm.other"] = tensors.pop("model.norm.weight")


def _reshape(tensors):
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].view(16, 32)


def _same_bytes_of_another_type(tensors):
    tensors["model.norm.weight"] = tensors["model.norm.weight"].view(torch.int32)


def _swap(tensors):
    a, b = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"
    tensors[a], tensors[b] = tensors[b], tensors[a]


def _text(name, text):
    return lambda folder: (folder / name).write_text(text)


def _vocabulary(table):
    words = table["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]


COUNTS = {
    "one bit of one tensor": _tensors(_one_bit),
    "a tensor's name": _tensors(_rename),
    "a tensor's shape": _tensors(_reshape),
    "a tensor's type": _tensors(_same_bytes_of_another_type),
    "two tensors changed places": _tensors(_swap),
    "a tensor less": _tensors(lambda t: t.pop("model.norm.weight")),
    "rotary base": _json("config.json", lambda t: t["rope_parameters"].update(rope_theta=5e5)),
    "rotary scaling": _json("config.json", lambda t: t["rope_parameters"].update(rope_type="x")),
    "activation": _json("config.json", lambda t: t.update(hidden_act="gelu")),
    "epsilon": _json("config.json", lambda t: t.update(rms_norm_eps=1e-4)),
    "a sliding window": _json("config.json", lambda t: t.update(sliding_window=4)),
    "an inner model's activation": _json(
        "config.json", lambda t: t.update(text_config={"hidden_act": "gelu"})
    ),
    "chat template": _text("chat_template.jinja", TEMPLATE + " "),
    "no chat template": lambda folder: (folder / "chat_template.jinja").unlink(),
    "vocabulary": _json("tokenizer.json", _vocabulary),
    "merges": _json("tokenizer.json", lambda t: t["model"].update(merges=[["a", "b"]])),
    "an added token": _json(
        "tokenizer.json", lambda t: t["added_tokens"].append({"id": 27, "content": "<x>"})
    ),
}


@pytest.mark.parametrize("change", COUNTS.values(), ids=COUNTS.keys())
def test_what_changes_the_function_changes_the_fingerprint(saved, model, change):
    change(model)
    assert of_folder(model) != of_folder(saved)


def _stray(folder):
    save_file({"x": torch.ones(1)}, folder / "consolidated.safetensors")


def _template_in_settings(folder):
    (folder / "chat_template.jinja").unlink()
    _json("tokenizer_config.json", lambda t: t.update(chat_template=TEMPLATE))(folder)


IS_NOTHING = {
    "where it came from": _json("config.json", lambda t: t.update(_name_or_path="/home/me")),
    "transformers' version": _json("config.json", lambda t: t.update(transformers_version="9")),
    "the order of fields": _json("config.json", lambda t: t.update(vocab_size=t.pop("vocab_size"))),
    "a field that is null": _json("config.json", lambda t: t.update(sliding_window=None)),
    "an inner model that is null": _json("config.json", lambda t: t.update(text_config=None)),
    "a README": _text("README.md", "hello"),
    "metadata of the file": lambda folder: save_file(
        load_file(folder / "model.safetensors"), folder / "model.safetensors", metadata={"a": "b"}
    ),
    "a file beside that nobody loads": _stray,
    "merges written as text": _json("tokenizer.json", lambda t: t["model"].update(merges=[])),
    "where the template is kept": _template_in_settings,
    "the place of the folder": lambda folder: None,
}


@pytest.mark.parametrize("change", IS_NOTHING.values(), ids=IS_NOTHING.keys())
def test_what_changes_no_answer_changes_no_fingerprint(saved, model, change):
    change(model)
    assert of_folder(model) == of_folder(saved)


def test_merges_as_pairs_and_as_text_are_one(model):
    _json("tokenizer.json", lambda t: t["model"].update(merges=[["a", "b"]]))(model)
    pairs = of_folder(model)
    _json("tokenizer.json", lambda t: t["model"].update(merges=["a b"]))(model)
    assert of_folder(model) == pairs


def test_several_templates_and_slow_tokenizers_count_too(model):
    (model / "chat_template.jinja").unlink()
    several = [{"name": "default", "template": TEMPLATE}]
    _json("tokenizer_config.json", lambda t: t.update(chat_template=several))(model)
    prints = {of_folder(model)}
    (model / "tokenizer.json").unlink()
    prints.add(of_folder(model))
    (model / "vocab.json").write_text("{}")
    prints.add(of_folder(model))
    (model / "tokenizer_config.json").unlink()
    prints.add(of_folder(model))
    assert len(prints) == 4


def test_weights_of_any_name_count_where_none_has_the_usual(model, saved):
    (model / "model.safetensors").rename(model / "weights.safetensors")
    assert of_folder(model) == of_folder(saved)


def test_a_tied_model_is_told_by_its_files_not_by_its_memory(tmp_path):
    folder = _save(CONFIGS["llama tied"](), tmp_path)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 - no mapping
    assert len(of_folder(folder)) == 32
