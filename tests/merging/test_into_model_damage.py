"""A base or a place that is at fault is named, and the other is not blamed."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files import checkpoint
from hivelearn.merging.into_model import merge_into
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.recipe.schedule import ByName
from hivelearn.merging.run.options import MergeOptions
from hivelearn.patch import fingerprint
from hivelearn.patch.adapter import Adapter
from hivelearn.testing.models import small_model

Q = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("base") / "llama", "llama")


@pytest.fixture
def base(intact, tmp_path):
    return shutil.copytree(intact, tmp_path / "base")


@pytest.fixture(scope="module")
def adapter(intact):
    from transformers import AutoModelForCausalLM

    d_out, d_in = AutoModelForCausalLM.from_pretrained(intact).get_submodule(Q).weight.shape
    return Adapter({Q: (torch.ones(1, d_in), torch.ones(d_out, 1))}, 1, 1.0)


def text(name, content):
    return lambda base: (base / name).write_text(content)


def config(**changes):
    def change(base):
        path = base / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def remote_code(base):
    config(model_type="of_mine", auto_map={"AutoConfig": "mine.Config"})(base)
    (base / "mine.py").write_text("raise SystemExit('it ran')")


def index(content):
    def change(base):
        (base / "model.safetensors").rename(base / "model-1.safetensors")
        (base / "model.safetensors.index.json").write_text(content)

    return change


def elsewhere(name):
    """Return a change that lets the index name a file that is there, but not in the folder."""

    def change(base):
        place = base / name
        place.parent.mkdir(exist_ok=True)
        (base / "model.safetensors").rename(place)
        table = {"weight_map": dict.fromkeys(load_file(place), name)}
        (base / "model.safetensors.index.json").write_text(json.dumps(table))

    return change


def rewritten(change):
    """Return a change of the weights' bytes."""

    def write(base):
        path = base / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return write


SHARDS = '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
DAMAGED = {
    "config is not JSON": text("config.json", '{"model_type": '),
    "config is a list": text("config.json", "[]"),
    "unknown architecture": config(model_type="of_tomorrow"),
    "remote code": remote_code,
    "a word for a number": config(hidden_size="large"),
    "index is not JSON": index('{"weight_map"'),
    "index without a map": index("{}"),
    "a shard is missing": index(SHARDS),
    "a shard in another folder": elsewhere("../model-1.safetensors"),
    "a shard in a folder within": elsewhere("shards/model-1.safetensors"),
    "absurd header length": rewritten(lambda raw: b"\xff" * 8 + raw[8:]),
    "header longer than the file": rewritten(lambda raw: (1 << 26).to_bytes(8, "little") + raw[8:]),
    "a few bytes": rewritten(lambda raw: raw[:5]),
    "cut": rewritten(lambda raw: raw[:-100]),
    "too long": rewritten(lambda raw: raw + b"more"),
    "no config": lambda base: (base / "config.json").unlink(),
    "no folder": shutil.rmtree,
}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_base_is_named_and_nothing_is_left(base, tmp_path, adapter, damage, known):
    if known:
        mark = fingerprint.of_folder(base)
        adapter = Adapter(adapter.factors, adapter.rank, adapter.alpha, mark)
    damage(base)
    with pytest.raises(MergeError, match=re.escape(str(base))) as caught:
        merge_into(base, [adapter], MergeRecipe(), MergeOptions(out=tmp_path / "merged"))
    assert str(tmp_path / "merged") not in str(caught.value)
    assert not (tmp_path / "merged").exists()


def test_a_base_that_shrinks_while_it_is_copied_is_named(base, tmp_path, adapter, meanwhile):
    file = base / "model.safetensors"
    cut = rewritten(lambda raw: raw[:-100])
    meanwhile(checkpoint, "copy_weights", lambda: cut(base))
    with pytest.raises(MergeError, match="damaged") as caught:
        merge_into(base, [adapter], MergeRecipe(), MergeOptions(out=tmp_path / "merged"))
    assert str(file) in caught.value.what
    assert not (tmp_path / "merged").exists()


def test_a_base_that_loses_its_config_while_it_is_judged_is_named(
    base, tmp_path, adapter, meanwhile
):
    known = Adapter(adapter.factors, adapter.rank, adapter.alpha, fingerprint.of_folder(base))
    meanwhile(fingerprint, "of_folder", (base / "config.json").unlink)
    with pytest.raises(MergeError, match=r"holds no config\.json"):
        merge_into(base, [known], MergeRecipe(), MergeOptions(out=tmp_path / "merged"))
    assert not (tmp_path / "merged").exists()


def test_what_is_neither_model_nor_folder_is_refused(adapter):
    with pytest.raises(MergeError, match="a int is no model"):
        merge_into(3, [adapter], MergeRecipe())


def test_a_module_in_which_nobody_has_a_weight_stays_bit_for_bit(base, tmp_path, adapter):
    nobody = MergeRecipe(weights=[ByName((("q_proj", 0.0), ("*", 1.0)))])
    merge_into(base, [adapter], nobody, MergeOptions(out=tmp_path / "m"))
    new, old = (folder / "model.safetensors" for folder in (tmp_path / "m", base))
    assert new.read_bytes() == old.read_bytes()


def test_a_place_that_is_a_file_or_below_one_is_refused_and_kept(base, tmp_path, adapter):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(MergeError, match=re.escape(f"{out} cannot be written")):
            merge_into(base, [adapter], MergeRecipe(), MergeOptions(out=out))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failure_behind_a_link_removes_what_was_written_and_not_the_link(
    base, tmp_path, adapter, meanwhile
):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")

    def broken():
        (tmp_path / "disk" / "letter.txt").write_text("dear")  # somebody else's, meanwhile
        raise OSError(28, "No space left on device")

    meanwhile(checkpoint, "copy_whole", broken)
    with pytest.raises(MergeError, match=r"link cannot be written: No space left"):
        merge_into(base, [adapter], MergeRecipe(), MergeOptions(out=tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["letter.txt"]


def test_two_models_into_one_folder_at_once_leave_the_first(base, tmp_path, adapter, meanwhile):
    out, options = tmp_path / "merged", MergeOptions(out=tmp_path / "merged")
    first = lambda: merge_into(base, [adapter], MergeRecipe(), options)
    meanwhile(checkpoint, "others_of", first)
    with pytest.raises(MergeError, match="cannot be written"):
        merge_into(base, [adapter], MergeRecipe(), options)
    assert {path.name for path in out.iterdir()} == {path.name for path in base.iterdir()}
