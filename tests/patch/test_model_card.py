"""A folder says what is in it, in metadata that a hub takes; nobody's README is written over."""

import pytest
import torch
import yaml

from hivelearn.merging.merge import merge
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.model_card import CARD_FILE, ModelCard, write_card
from hivelearn.patch.origin import Origin


def _adapter(model=None, task="CAUSAL_LM", size=1.0):
    factors = {"layers.0.q_proj": (torch.ones(2, 3), torch.full((5, 2), size))}
    return Adapter(factors, 2, 4.0, origin=Origin(task, model))


def _front(text):
    _, front, _ = text.split("---\n", 2)
    return yaml.safe_load(front)


def test_the_metadata_is_what_a_hub_and_peft_expect(tmp_path):
    folder = _adapter("HuggingFaceTB/SmolLM2-135M-Instruct").save(tmp_path / "it")
    assert _front((folder / CARD_FILE).read_text()) == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "hivelearn"],
    }


@pytest.mark.parametrize(
    "model", ["/home/somebody/models/llama", "../models/llama", "C:\\models\\llama", "a b", None]
)
def test_a_path_of_this_machine_stays_here(tmp_path, model):
    text = (_adapter(model).save(tmp_path / "it") / CARD_FILE).read_text()
    assert "base_model" not in _front(text)
    assert model is None or model not in text


LICENCES = {
    "known": ("Apache-2.0", {"license": "apache-2.0"}),
    "another": ("LicenseRef-Mine", {"license": "other", "license_name": "LicenseRef-Mine"}),
    "none": ("", {}),
}


@pytest.mark.parametrize(("licence", "says"), LICENCES.values(), ids=LICENCES)
def test_a_licence_is_one_that_the_hub_takes_or_is_named(licence, says):
    front = _front(str(ModelCard("t", Origin(), {}, licence)))
    assert {key: front[key] for key in front if key.startswith("license")} == says


def test_what_others_named_ends_no_row_and_begins_no_markup():
    text = str(ModelCard("# x\n<b>", Origin(), {"a|b": "c\n---\n[x](y)"}, parts=[("|s`|", "1")]))
    assert "<b>" not in text
    assert text.count("---\n") == 2  # around the metadata, and no more
    assert "](y)" not in text


def test_a_merge_tells_its_method_its_sources_and_what_it_cost(tmp_path):
    for name in "ab":
        _adapter("owner/base").save(tmp_path / name)
    merge([tmp_path / "a", tmp_path / "b"], "ties", weights=[2, 1], out=tmp_path / "out")
    text = (tmp_path / "out" / CARD_FILE).read_text()
    assert _front(text)["tags"] == ["lora", "hivelearn", "merge", "ties"]
    assert _front(text)["base_model"] == "owner/base"
    assert "source 0 (a) | 2" in text
    assert "lost to recompression" in text
    assert str(tmp_path) not in text


THEIRS = {
    "a file": lambda path: path.write_text("# Mine"),
    "ours, of which they took the line": lambda path: path.write_text(
        "\n".join(line for line in path.read_text().split("\n") if "<!--" not in line)
    ),
    "a link that leads nowhere": lambda path: [path.unlink(), path.symlink_to("nowhere")],
}


@pytest.mark.parametrize("take", THEIRS.values(), ids=THEIRS)
def test_a_readme_of_somebody_else_stays(tmp_path, take):
    _adapter().save(tmp_path)
    take(tmp_path / CARD_FILE)
    link = (tmp_path / CARD_FILE).is_symlink()
    before = None if link else (tmp_path / CARD_FILE).read_text()
    _adapter(size=2.0).save(tmp_path)
    if link:
        assert (tmp_path / CARD_FILE).is_symlink()
    else:
        assert (tmp_path / CARD_FILE).read_text() == before


def test_a_folder_called_readme_is_no_obstacle(tmp_path):
    (tmp_path / CARD_FILE).mkdir()
    write_card(tmp_path, ModelCard("t", Origin(), {}))
    assert (tmp_path / CARD_FILE).is_dir()


def test_our_own_is_written_anew(tmp_path):
    _adapter("owner/one").save(tmp_path)
    _adapter("owner/two").save(tmp_path)
    assert _front((tmp_path / CARD_FILE).read_text())["base_model"] == "owner/two"


def test_an_adapter_that_changes_nothing_is_told_when_it_is_read(tmp_path):
    _adapter(size=0.0).save(tmp_path)
    with pytest.warns(UserWarning, match="changes nothing"):
        Adapter.load(tmp_path)
