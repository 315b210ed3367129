"""What is no model is refused with its reason, quickly, and nothing is printed."""

import json
import os
import time

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel, LlamaModel

from hivelearn.errors import UsageError
from hivelearn.inference import loading
from hivelearn.inference.errors import NoModelError
from hivelearn.inference.loading import load_model, pick_device
from hivelearn.inference.model_folder import NANO, resolve_model


@pytest.mark.parametrize(
    "where", ["missing/folder/x", "./missing", "/missing", "~/missing-model", "a\\b"]
)
def test_a_path_that_does_not_exist_is_refused(where):
    with pytest.raises(NoModelError, match="is not a folder") as caught:
        resolve_model(where)
    assert "hub id" in caught.value.remedy


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(NoModelError, match="is not a folder"):
        resolve_model(tmp_path / "model.bin")


@pytest.mark.parametrize("name", ["nobody/no-such-model", "gpt-none", "with space", "a--b"])
def test_a_hub_id_that_cannot_be_had_is_refused_quickly(name):
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    began = time.perf_counter()
    with pytest.raises(NoModelError, match="as a hub id"):
        resolve_model(name)
    assert time.perf_counter() - began < 5


def test_nothing_means_the_nano_model():
    assert resolve_model(None) == NANO


def _bert(folder, kind):
    config = BertConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    kind(config).save_pretrained(folder)


def _no_head(folder, llama):
    model = LlamaModel(llama.model.config)
    model.save_pretrained(folder)
    llama.encoder.tokenizer.save_pretrained(folder)


def _cut(folder, source):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    (folder / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[:-100])


MAKERS = {
    "an empty folder": lambda folder, *_: None,
    "a folder of other things": lambda folder, *_: (folder / "notes.txt").write_text("x"),
    "a config that is no JSON": lambda folder, *_: (folder / "config.json").write_text("{"),
    "a config of no known model": lambda folder, *_: (folder / "config.json").write_text(
        json.dumps({"model_type": "abacus"})
    ),
    "an encoder": lambda folder, *_: _bert(folder, BertModel),
    "an encoder with a head": lambda folder, *_: _bert(folder, BertForMaskedLM),
    "weights cut off": lambda folder, engine, source: _cut(folder, source),
    "a decoder without its head": lambda folder, engine, _: _no_head(folder, engine),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_a_folder_that_is_no_causal_model_is_refused(make, engine_of, tmp_path):
    source, engine = engine_of("llama")
    with loading.quiet():
        make(tmp_path, engine, source)
    with pytest.raises(NoModelError) as caught:
        load_model(tmp_path, "cpu")
    assert caught.value.remedy
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "", "meta"])
def test_a_device_that_is_not_here_is_the_callers_error(device):
    with pytest.raises(UsageError, match="no device") as caught:
        pick_device(device)
    assert "auto" in caught.value.remedy


def test_the_cpu_is_a_device():
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("dtype", ["nonsense", "int8", "Tensor"])
def test_a_type_that_holds_no_weights_is_the_callers_error(dtype, engine_of):
    with pytest.raises(UsageError, match="no type of weights"):
        load_model(engine_of("llama")[0], "cpu", dtype)


BIG, SMALL = 3_000_000_000, 3_000_000
#        device, stored as, bytes, kernels -> type
CHOICES = {
    "a GPU with bfloat16": ("cuda", torch.float32, BIG, True, torch.bfloat16),
    "an old GPU": ("cuda", torch.bfloat16, BIG, False, torch.float16),
    "stored in 32 bits": ("cpu", torch.float32, BIG, True, torch.float32),
    "not said how": ("cpu", None, BIG, True, torch.float32),
    "small, on a CPU": ("cpu", torch.bfloat16, SMALL, True, torch.float32),
    "big, with kernels": ("cpu", torch.bfloat16, BIG, True, torch.bfloat16),
    "big, without kernels": ("cpu", torch.float16, BIG, False, torch.float32),
    "big, on a Mac": ("mps", torch.bfloat16, BIG, False, torch.float16),
}


@pytest.mark.parametrize("row", CHOICES.values(), ids=CHOICES.keys())
def test_the_type_follows_device_size_and_kernels(row):
    device, stored, size, kernels, expected = row
    assert loading.pick_dtype(device, stored, size, bf16=kernels) is expected


def test_a_stated_type_is_taken(engine_of):
    loaded = load_model(engine_of("llama")[0], "cpu", "bfloat16")
    assert next(loaded.model.parameters()).dtype is torch.bfloat16
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert isinstance(loading.has_bf16_kernels(), bool)


def test_opening_prints_nothing_and_leaves_progress_bars_as_they_were(engine_of, family, capfd):
    from transformers.utils import logging

    folder = engine_of(family)[0]
    capfd.readouterr()
    for shown in (True, False):
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
        load_model(folder, "cpu")
        assert logging.is_progress_bar_enabled() is shown
    logging.enable_progress_bar()
    assert capfd.readouterr() == ("", "")


def test_a_gpu_that_is_not_here_is_told_with_what_would_bring_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for cuda, wanted in ((None, "download.pytorch.org"), ("12.6", "nvidia-smi")):
        monkeypatch.setattr(torch.version, "cuda", cuda)
        with pytest.raises(UsageError, match="no device 'cuda:99'") as caught:
            pick_device("cuda:99")
        assert wanted in caught.value.remedy
        assert "device='auto'" in caught.value.remedy
    with pytest.raises(UsageError, match="no device 'mps'") as caught:
        pick_device("mps")
    assert "Apple" in caught.value.remedy
