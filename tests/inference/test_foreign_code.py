"""A model's folder is data: it runs nothing, fetches nothing and asks nothing."""

import ast
import builtins
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import hivelearn as hl
from hivelearn.inference import foreign_code
from hivelearn.inference.errors import NoModelError
from hivelearn.inference.foreign_code import ForeignCodeError, PickledWeightsError
from hivelearn.inference.loading import load_model
from hivelearn.merging.errors import MergeError

PACKAGE = Path(hl.__file__).parent
POISON = """
import pathlib
(pathlib.Path({proof!r})).write_text("it ran")
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Config(LlamaConfig):
    model_type = "abacus"
class Model(LlamaForCausalLM):
    config_class = Config
class Words(PreTrainedTokenizerFast):
    pass
"""
OF_THE_MODEL = {"AutoConfig": "poison.Config", "AutoModelForCausalLM": "poison.Model"}


@pytest.fixture
def folder(engine_of, tmp_path):
    """A copy of a good model's folder, with a poisonous module and nothing that names it."""
    copy = shutil.copytree(engine_of("llama")[0], tmp_path / "model")
    (copy / "poison.py").write_text(POISON.format(proof=str(tmp_path / "ran")))
    return copy


@pytest.fixture(autouse=True)
def _nobody_is_asked(monkeypatch, tmp_path):
    def asked(*_):
        raise AssertionError("a question on the terminal")

    monkeypatch.setattr(builtins, "input", asked)
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )


def changed(folder, name, **settings):
    path = folder / name
    told = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**told, **settings}))


def needs_its_model(folder):
    changed(folder, "config.json", model_type="abacus", auto_map=OF_THE_MODEL)


def needs_its_tokenizer(folder):
    names = {"AutoTokenizer": [None, "poison.Words"]}
    changed(folder, "tokenizer_config.json", tokenizer_class="Words", auto_map=names)


def names_a_repository(folder):
    elsewhere = {name: f"somebody/abacus--{code}" for name, code in OF_THE_MODEL.items()}
    changed(folder, "config.json", model_type="abacus", auto_map=elsewhere)


def asks_for_a_kernel(folder):
    changed(folder, "config.json", attn_implementation="somebody/kernel")


def asks_for_a_kernel_of_a_part(folder):
    changed(folder, "config.json", _attn_implementation={"": "sdpa", "text": "somebody/kernel"})


ATTACKS = {
    "a model class of its own": needs_its_model,
    "a tokenizer class of its own": needs_its_tokenizer,
    "a class in somebody's repository": names_a_repository,
    "a compiled kernel": asks_for_a_kernel,
    "a compiled kernel for a part": asks_for_a_kernel_of_a_part,
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_folder_that_needs_its_own_code_is_refused_runs_nothing_and_asks_nothing(
    folder, attack, tmp_path
):
    attack(folder)
    with pytest.raises(ForeignCodeError, match="with your rights") as caught:
        load_model(folder, "cpu")
    assert "trust_remote_code=True" in caught.value.remedy
    assert not (tmp_path / "ran").exists()


def offers_code_for_a_known_model(folder):
    changed(folder, "config.json", auto_map=OF_THE_MODEL)


def offers_a_way_to_generate(folder):
    (folder / "custom_generate").mkdir()
    shutil.copy(folder / "poison.py", folder / "custom_generate" / "generate.py")
    changed(folder, "generation_config.json", custom_generate="somebody/abacus")


OFFERS = {
    "code for a model that is known": offers_code_for_a_known_model,
    "a way to generate": offers_a_way_to_generate,
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
def test_code_that_is_not_needed_is_passed_over_and_not_run(folder, offer, tmp_path):
    offer(folder)
    node = hl.Node(folder, home=tmp_path / "home", device="cpu")
    assert node.ask("Hello", max_new_tokens=2).answer_tokens <= 2
    assert not (tmp_path / "ran").exists()


def test_code_runs_when_the_user_says_so(folder, tmp_path):
    needs_its_model(folder)
    node = hl.Node(folder, home=tmp_path / "home", device="cpu", trust_remote_code=True)
    assert type(node.model).__name__ == "Model"
    assert (tmp_path / "ran").read_text() == "it ran"


class Poison:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle ran')",)


PICKLES = ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "weights.ckpt"]


@pytest.mark.parametrize("name", PICKLES)
def test_pickled_weights_are_refused_unread(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Poison()))
    with pytest.raises(PickledWeightsError, match="can run code") as caught:
        load_model(folder, "cpu")
    assert "safetensors" in caught.value.remedy


def test_a_pickle_beside_safetensors_is_not_read(folder):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Poison()))
    assert load_model(folder, "cpu").model is not None


def _index(name):
    return {"model.safetensors.index.json": {"weight_map": {"lm_head.weight": name}}}


OTHER_NAMES = {
    "an index to a pickle": (_index("weights-1.bin"), PickledWeightsError),
    "an index to pickled shards": (_index("pytorch_model-1.bin"), PickledWeightsError),
    "an index out of the folder": (_index("../elsewhere.safetensors"), NoModelError),
    "an index that is no map": (
        {"model.safetensors.index.json": {"weight_map": 7}},
        PickledWeightsError,
    ),
    "weights by another name": (
        {"config.json": {"transformers_weights": "adapter_model.bin"}},
        PickledWeightsError,
    ),
}


@pytest.mark.parametrize(("files", "error"), OTHER_NAMES.values(), ids=OTHER_NAMES.keys())
def test_weights_that_a_folder_names_itself_are_safetensors_inside_it(folder, files, error):
    (folder / "weights-1.bin").write_bytes(pickle.dumps(Poison()))
    for name, said in files.items():
        file = folder / name
        old = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(old | said))
    with pytest.raises(error):
        load_model(folder, "cpu")


def test_a_folder_that_sends_to_another_model_is_refused(folder):
    sent = {"peft_type": "LORA", "base_model_name_or_path": "somebody/else"}
    (folder / "adapter_config.json").write_text(json.dumps(sent))
    with pytest.raises(NoModelError, match="would open another model") as caught:
        load_model(folder, "cpu")
    assert "node.adopt" in caught.value.remedy


DAMAGED = {
    "no JSON": b"{",
    "no object": b"[1]",
    "no UTF-8": b"\xff\xfe{}",
    "too deep": b"[" * 100_000,
    "endless": b" " * (foreign_code.JSON_MAX_BYTES + 1),
}


@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_a_damaged_description_is_refused_by_name(folder, name, raw):
    (folder / name).write_bytes(raw)
    with pytest.raises(NoModelError, match=name):
        load_model(folder, "cpu")


def test_a_merge_into_a_model_runs_none_of_its_code(folder, tmp_path, engine_of, adapter_for):
    needs_its_model(folder)
    adapter = replace(adapter_for(engine_of("llama")[1]), base=None)
    out = hl.MergeOptions(out=tmp_path / "out")
    with pytest.raises(MergeError, match="cannot tell from config"):
        hl.merge_into(folder, [adapter], hl.MergeRecipe("linear"), out)
    assert not (tmp_path / "ran").exists()


def test_every_from_pretrained_of_the_package_says_whether_code_may_run():
    calls = [
        (path, call)
        for path in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "from_pretrained"
    ]
    assert calls
    for path, call in calls:
        spread = any(keyword.arg is None for keyword in call.keywords)
        named = {keyword.arg for keyword in call.keywords}
        assert spread or "trust_remote_code" in named, f"{path}:{call.lineno}"
