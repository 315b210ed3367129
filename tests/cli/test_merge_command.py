"""`hivelearn merge`: folders or a mergekit file in, a folder out, and a report."""

import json

import peft
import pytest
import torch

from hivelearn.patch.adapter import Adapter
from hivelearn.testing.models import small_model

Q = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def merge(call):
    return lambda *words: call("merge", *map(str, words), home=None)


@pytest.fixture
def folders(tmp_path):
    places = []
    for seed in (1, 2, 3):
        chance = torch.Generator().manual_seed(seed)
        factors = {
            f"model.layers.{n}.self_attn.q_proj": (
                torch.randn(2, 32, generator=chance), torch.randn(32, 2, generator=chance),
            )
            for n in range(2)
        }  # fmt: skip
        places.append(Adapter(factors, 2, 4.0).save(tmp_path / f"a{seed}"))
    return places


def test_folders_merge_into_a_folder_that_peft_knows(merge, folders, tmp_path):
    done = merge(*folders, "-o", tmp_path / "out", "--method", "core_ties", "--density", "0.3")
    assert done.exit_code == 0
    assert done.stdout.startswith("core_ties: rank 2, 2 modules")
    assert peft.LoraConfig.from_pretrained(tmp_path / "out").r == 2


def test_weights_stand_in_the_order_of_the_folders(merge, folders, tmp_path):
    words = ["--method", "task_arithmetic", "--rank", "stack", "--set", "lam=2"]
    done = merge(*folders[:2], "-o", tmp_path / "out", *words, "--weight", "1", "--weight", "0.5")
    assert done.exit_code == 0
    one, two = (Adapter.load(folder).delta(Q) for folder in folders[:2])
    torch.testing.assert_close(
        Adapter.load(tmp_path / "out").delta(Q), 2 * one + two, atol=1e-4, rtol=1e-4
    )


def test_a_switch_is_set_by_true_and_false(merge, folders, tmp_path):
    base = [*folders[:2], "--method", "dare_linear", "--density", "1"]
    for switch in ("true", "false"):
        assert merge(*base, "-o", tmp_path / switch, "--set", f"normalize={switch}").exit_code == 0
    mean, total = (Adapter.load(tmp_path / switch).delta(Q) for switch in ("true", "false"))
    torch.testing.assert_close(2 * mean, total, atol=1e-4, rtol=1e-4)


def test_a_mergekit_file_says_itself_what_to_merge(merge, folders, tmp_path):
    config = tmp_path / "merge.yml"
    config.write_text(
        "merge_method: linear\ndtype: bfloat16\nmodels:\n"
        + "".join(f"  - {{model: {f}, parameters: {{weight: 1}}}}\n" for f in folders)
    )
    assert merge("--config", config, "-o", tmp_path / "out", "--rank", "6").exit_code == 0
    merged = Adapter.load(tmp_path / "out")
    assert (merged.dtype, merged.rank) == ("BF16", 6)
    mixed = merge(folders[0], "--config", config, "-o", tmp_path / "out2")
    assert mixed.exit_code == 2
    assert "a configuration file says itself" in mixed.stderr


@pytest.mark.parametrize(
    "words",
    [["--method", "linear"], ["--density", "0"], ["--allow-negative"], ["--set", "lam=1"]],
    ids=" ".join,
)
def test_what_the_file_says_is_not_said_beside_it(merge, folders, tmp_path, words):
    config = tmp_path / "merge.yml"
    config.write_text(f"merge_method: linear\nmodels: [{{model: {folders[0]}}}]\n")
    done = merge("--config", config, "-o", tmp_path / "out", *words)
    assert done.exit_code == 2
    assert "a configuration file says itself" in done.stderr
    assert words[0] in done.stderr
    assert not (tmp_path / "out").exists()
    rest = ["--seed", "1", "--rank", "3", "--dtype", "float16"]  # no file says these for adapters
    assert merge("--config", config, "-o", tmp_path / "out", *rest).exit_code == 0


@pytest.mark.parametrize(
    "words",
    [["--json"], ["--plot", "a.png"], ["--dtype", "float16"], ["--rank", "2"], ["--energy", "0.9"]],
    ids=" ".join,
)
def test_a_whole_model_takes_no_option_of_an_adapter(merge, folders, tmp_path, words):
    base = small_model(tmp_path / "base", "llama")
    done = merge(*folders, "-o", tmp_path / "out", "--base", base, *words)
    assert done.exit_code == 2
    assert f"takes no {words[0]}" in done.stderr
    assert "keeps its own type and full rank" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["nodir/x.png", "."])
def test_a_picture_without_a_place_is_refused_before_the_merge(merge, folders, tmp_path, place):
    done = merge(*folders, "-o", tmp_path / "out", "--plot", tmp_path / place)
    assert done.exit_code == 2
    assert "--plot" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_picture_may_lie_in_the_folder_that_the_merge_makes(merge, folders, tmp_path):
    picture = tmp_path / "out" / "merge.png"
    assert merge(*folders, "-o", tmp_path / "out", "--plot", picture).exit_code == 0
    assert picture.exists()


def test_a_whole_model_is_written_when_a_base_is_given(merge, folders, tmp_path):
    base = small_model(tmp_path / "base", "llama")
    done = merge(*folders, "-o", tmp_path / "out", "--method", "ties", "--base", base)
    assert done.exit_code == 0
    assert (tmp_path / "out" / "config.json").exists()


def test_the_report_comes_as_json_and_as_a_picture(merge, folders, tmp_path):
    picture = tmp_path / "merge.png"
    done = merge(*folders, "-o", tmp_path / "out", "--json", "--plot", picture)
    report = json.loads(done.stdout)
    assert report["method"] == "linear"
    assert len(report["cosines"]) == 3
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_methods_are_listed(merge):
    listed = merge("--list").stdout
    assert all(f"\n{name} " in listed for name in ("linear", "ties", "core_ties", "robust"))


BAD = {
    "nothing": ([], "nowhere to write"),
    "no place": (["FOLDER"], "nowhere to write"),
    "no folder": (["-o", "OUT"], "no adapter was given"),
    "a folder that is none": (["OUT", "-o", "OUT"], "there is no folder"),
    "no such method": (["FOLDER", "-o", "OUT", "--method", "slurp"], "Use one of"),
    "no such setting": (["FOLDER", "-o", "OUT", "--set", "lam=1"], "takes no 'lam'"),
    "a setting without a value": (["FOLDER", "-o", "OUT", "--set", "lam"], "not name=value"),
    "a word for a number": (
        ["FOLDER", "-o", "OUT", "--method", "ties", "--set", "lam=much"],
        "'much' is not a number",
    ),
    "a rank in words": (["FOLDER", "-o", "OUT", "--rank", "tall"], "'tall' is not a number"),
    "a negative weight": (["FOLDER", "-o", "OUT", "--weight", "-1"], "allow_negative"),
    "auto": (["FOLDER", "-o", "OUT", "--method", "auto"], "validate="),
    "two densities": (
        ["FOLDER", "-o", "OUT", "--method", "ties", "--density", ".3", "--set", "density=.5"],
        "Give one of them",
    ),
    "the folder of a source": (["FOLDER", "-o", "FOLDER"], "the folder of source 0"),
    "a strange type": (["FOLDER", "-o", "OUT", "--dtype", "int8"], "int8"),
    "no such file": (["--config", "OUT", "-o", "OUT"], "cannot be read"),
}


@pytest.mark.parametrize(("words", "says"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_merged_ends_with_code_2_and_a_remedy(merge, folders, tmp_path, words, says):
    places = {"FOLDER": folders[0], "OUT": tmp_path / "out"}
    done = merge(*(places.get(word, word) for word in words))
    assert done.exit_code == 2
    assert says in done.stderr
    assert "→" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_a_file_says_in_vain_is_told_in_the_report(merge, folders, tmp_path):
    config = tmp_path / "merge.yml"
    config.write_text(
        f"merge_method: ties\nbase_model: org/base\nmodels: [{{model: org/base+{folders[0]}/}}]\n"
        "parameters: {int8_mask: true}\ntokenizer_source: base\n"
    )
    done = merge("--config", config, "-o", tmp_path / "out")
    assert done.exit_code == 0
    told = done.stdout.splitlines()
    assert "tokenizer_source: an adapter has no tokenizer, and its base's stays as it is" in told
    assert "int8_mask of parameters says how mergekit computes, and changes nothing here" in told
    said = json.loads(merge("--config", config, "-o", tmp_path / "out", "--json").stdout)
    assert len(said["notes"]) == 2


def test_a_file_names_its_folders_from_where_it_lies(merge, folders, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    config = tmp_path / "merge.yml"
    config.write_text("merge_method: linear\nmodels: [{model: ./a1}, {model: a2/}]\n")
    assert merge("--config", config, "-o", tmp_path / "out").exit_code == 0


def test_a_method_that_is_almost_one_is_guessed(merge, folders, tmp_path):
    done = merge(*folders, "-o", tmp_path / "out", "--method", "dare-ties")
    assert done.exit_code == 2
    assert "Did you mean 'dare_ties'?" in done.stderr


def test_a_model_s_folder_decides_which_of_two_spellings_counts(merge, folders, tmp_path):
    from safetensors.torch import load_file, save_file

    file = folders[1] / "adapter_model.safetensors"
    other = {
        name.replace("base_model.model.model.", "base_model.model."): tensor
        for name, tensor in load_file(file).items()
    }
    save_file(other, file)
    told = merge(folders[0], folders[1], "-o", tmp_path / "out")
    assert told.exit_code == 2
    assert "--names-of" in told.stderr
    base = small_model(tmp_path / "base")
    done = merge(folders[0], folders[1], "-o", tmp_path / "out", "--names-of", base)
    assert done.exit_code == 0
    assert len(Adapter.load(tmp_path / "out").factors) == 2
