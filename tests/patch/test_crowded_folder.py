"""A folder of a hundred thousand things is refused before a library counts them."""

import json

import pytest
import torch

from hivelearn.patch import peft_folder
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.errors import AdapterError
from hivelearn.patch.peft_config import CONFIG_FILE, WEIGHTS_FILE


@pytest.fixture
def folder(tmp_path):
    return Adapter({"q": (torch.ones(2, 3), torch.ones(5, 2))}, 2, 4.0).save(tmp_path)


def headed(table, size=None):
    raw = json.dumps(table).encode()
    return (size or len(raw)).to_bytes(8, "little") + raw


EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
WEIGHTS = {
    "a hundred and twenty thousand tensors": headed({f"t{n}": EMPTY for n in range(120_000)}),
    "a header of a terabyte": headed({}, size=1 << 40),
}
CONFIGS = {
    "lists without end": '{"x": [' + ",".join(["[]"] * 1_300_000) + "]}",
    "settings without end": "{" + ",".join(f'"k{n}":0' for n in range(300_000)) + "}",
}


@pytest.mark.parametrize("raw", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_weights_of_too_many_tensors_are_refused_unlisted(folder, raw, monkeypatch):
    monkeypatch.setattr(peft_folder, "safe_open", lambda *_, **__: pytest.fail("listed"))
    (folder / WEIGHTS_FILE).write_bytes(raw)
    with pytest.raises(AdapterError, match="more than 40960 tensors"):
        Adapter.load(folder)


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_configuration_of_too_many_things_is_refused_unparsed(folder, text, monkeypatch):
    monkeypatch.setattr("json.loads", lambda *_, **__: pytest.fail("parsed"))
    (folder / CONFIG_FILE).write_text(text)
    with pytest.raises(AdapterError, match="are allowed"):
        Adapter.load(folder)
