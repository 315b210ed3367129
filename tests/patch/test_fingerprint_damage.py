"""Fingerprints are cached until a file changes; a damaged model has none."""

import json
import os
import shutil
import struct

import pytest
import torch
from safetensors.torch import save_file

from hivelearn.errors import UsageError
from hivelearn.patch.fingerprint import NoFingerprintError, of_folder


def _make(folder):
    """Just what a fingerprint reads of a model."""
    folder.mkdir()
    save_file({"a": torch.ones(4, 4), "b": torch.zeros(3)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "rms_norm_eps": 1e-6}))
    table = {"model": {"vocab": {"x": 0}, "merges": []}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(table))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": None}))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.fixture
def model(tmp_path):
    return _make(tmp_path / "model")


def _json(name, change):
    def apply(folder):
        table = json.loads((folder / name).read_text())
        change(table)
        (folder / name).write_text(json.dumps(table))

    return apply


def _text(name, text):
    return lambda folder: (folder / name).write_text(text)


# --- the cache ----------------------------------------------------------------------------


def _change_unseen(folder):
    """Change a weight and nothing by which a file system tells that a file has changed."""
    file = folder / "model.safetensors"
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    raw = file.read_bytes()
    file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    os.utime(file, ns=times)


def test_gigabytes_are_hashed_once_and_again_after_a_change(model, tmp_path):
    cache = tmp_path / "cache.json"
    first = of_folder(model, cache)
    _change_unseen(model)
    assert of_folder(model, cache) == first != of_folder(model)  # the cache's, without reading
    save_file({"a": torch.ones(4, 4), "b": torch.ones(3)}, model / "model.safetensors")
    second = of_folder(model, cache)
    assert second == of_folder(model) != first
    _change_unseen(model)
    assert of_folder(model, cache) == second


def test_two_models_share_a_cache_and_each_keeps_one_row(model, tmp_path):
    cache, other = tmp_path / "cache.json", _make(tmp_path / "other")
    for change in (1, 2):
        _json("config.json", lambda t, c=change: t.update(rms_norm_eps=c))(model)
        found = of_folder(model, cache)
    apart = of_folder(other, cache)
    assert apart != found
    assert len(json.loads(cache.read_text())) == 2
    for folder, known in ((model, found), (other, apart)):
        _change_unseen(folder)
        assert of_folder(folder, cache) == known


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "[" * 100_000, '{"a": 1}', '{"a": ["b"]}', '{"%s": ["%s", "no hex"]}'],
    ids=lambda text: text[:12],
)
def test_a_damaged_cache_is_a_lost_one(model, tmp_path, text):
    cache = tmp_path / "cache.json"
    expected = of_folder(model, cache)
    if "%s" in text:
        text = cache.read_text().replace(expected.hex(), "zz" * 32)
    cache.write_text(text)
    assert of_folder(model, cache) == expected
    assert of_folder(model, cache) == expected


def test_a_cache_that_cannot_be_written_is_no_obstacle(model, tmp_path):
    (tmp_path / "file").write_text("")
    for cache in (tmp_path / "file" / "cache.json", tmp_path / "nowhere" / "cache.json"):
        assert of_folder(model, cache) == of_folder(model)


# --- damage -------------------------------------------------------------------------------


def _cut(name, by=1):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-by])


def _header(table, data=b""):
    raw = table if isinstance(table, bytes) else json.dumps(table).encode()
    blob = struct.pack("<Q", len(raw)) + raw + data
    return lambda folder: (folder / "model.safetensors").write_bytes(blob)


def _index(table):
    def apply(folder):
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps(table))

    return apply


DAMAGE = {
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "no folder": shutil.rmtree,
    "weights cut": _cut("model.safetensors"),
    "weights cut in the header": lambda folder: (folder / "model.safetensors").write_bytes(b"\xff"),
    "weights empty": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "a header of 2^63": lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 99),
    "a header that is a list": _header([1]),
    "a header of numbers": _header({"a": 1}),
    "a tensor without offsets": _header({"a": {"dtype": "F32", "shape": [1]}}),
    "a type that is a number": _header({"a": {"dtype": 1, "shape": [1], "data_offsets": [0, 0]}}),
    "a name that is no text": _header(
        b'{"\\ud800":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    ),
    "a deep header": _header(b"[" * 200_000),
    "config is cut": _cut("config.json", 2),
    "config is a list": _text("config.json", "[]"),
    "config is deep": _text("config.json", "[" * 200_000),
    "tokenizer is cut": _cut("tokenizer.json", 2),
    "tokenizer has no model": _text("tokenizer.json", "{}"),
    "tokens that are numbers": _json("tokenizer.json", lambda t: t.update(added_tokens=[1])),
    "settings are cut": lambda folder: [
        (folder / "chat_template.jinja").unlink(),
        _cut("tokenizer_config.json", 2)(folder),
    ],
    "an index that names no files": _index({}),
    "an index of a file that is not there": _index({"weight_map": {"a": "gone.safetensors"}}),
    "an index that is a list": _index([]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_model_has_no_fingerprint(model, damage):
    damage(model)
    with pytest.raises(NoFingerprintError) as caught:
        of_folder(model)
    assert isinstance(caught.value, UsageError)
    assert "save" in caught.value.remedy
