"""The doctor opens the model, and says what of its folder is not taken as it stands."""

import json

import pytest
from transformers import AutoTokenizer

from hivelearn.inference.loading import quiet
from hivelearn.testing.models import small_model


def pads_beyond(folder):
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        tokenizer.save_pretrained(folder)


def experiments(folder):
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_beams": 3}))


def refuses_all(folder):
    (folder / "chat_template.jinja").write_text("{{ raise_exception('never') }}")


def brings_code(folder):
    path = folder / "config.json"
    told = {"model_type": "abacus", "auto_map": {"AutoConfig": "poison.Config"}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **told}))


FOLDERS = {
    "a good one": (lambda folder: None, 0, "ok       model            {name} answers"),
    "a pad token beyond the embedding": (pads_beyond, 0, "pad token 320 is beyond"),
    "generation settings": (experiments, 0, "set aside: num_beams"),
    "a template that refuses all": (refuses_all, 4, "problem  model            the model's chat"),
    "code of its own": (brings_code, 4, "--trust-remote-code"),
}


@pytest.mark.parametrize(("change", "code", "said"), FOLDERS.values(), ids=FOLDERS.keys())
def test_the_doctor_says_what_a_models_folder_asks_for(call, tmp_path, change, code, said):
    folder = small_model(tmp_path / "base")
    change(folder)
    done = call("doctor", "--model", str(folder))
    assert said.format(name="base") in done.stdout
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem ")]
    assert any("model" in line for line in problems) == (code == 4)
    assert done.exit_code == (4 if problems else 0)


def test_the_doctor_names_the_model_that_the_home_remembers(call, tmp_path):
    folder = small_model(tmp_path / "base")
    assert "none: calls that name no model" in call("doctor").stdout
    call("correct", "14?", "XIV", "--domain", "roman", "--model", str(folder))
    assert f"home's model     {folder}: calls that name no model" in call("doctor").stdout
    (folder / "config.json").unlink()
    folder.rename(tmp_path / "elsewhere")
    gone = call("doctor")
    assert gone.exit_code == 4
    assert "problem  model            this home remembers the model" in gone.stdout
