"""An adapter as GGUF is what llama.cpp's own converter writes, and does there what it does here."""

import json

import gguf
import numpy as np
import pytest
import torch

from hivelearn.patch.adapter import Adapter
from hivelearn.patch.errors import AdapterError
from hivelearn.patch.folder import FolderError
from hivelearn.patch.gguf_file import GGUF_FILE

HEADS, KV_HEADS, WIDTH, RANK = 4, 2, 32, 3
LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
}
MODULES = {  # of a Llama, to llama.cpp's name, rows and columns
    "model.layers.0.self_attn.q_proj": ("blk.0.attn_q.weight", 32, 32),
    "model.layers.0.self_attn.k_proj": ("blk.0.attn_k.weight", 16, 32),
    "model.layers.0.self_attn.v_proj": ("blk.0.attn_v.weight", 16, 32),
    "model.layers.1.self_attn.o_proj": ("blk.1.attn_output.weight", 32, 32),
    "model.layers.1.mlp.gate_proj": ("blk.1.ffn_gate.weight", 64, 32),
    "model.layers.1.mlp.up_proj": ("blk.1.ffn_up.weight", 64, 32),
    "model.layers.1.mlp.down_proj": ("blk.1.ffn_down.weight", 32, 64),
}


@pytest.fixture
def base(tmp_path):
    def made(**config):
        folder = tmp_path / "base"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({**LLAMA, **config}))
        return folder

    return made


def adapter(dtype=torch.float32, modules=MODULES):
    chance = torch.Generator().manual_seed(0)
    factors = {
        name: (
            torch.randn(RANK, columns, generator=chance).to(dtype),
            torch.randn(rows, RANK, generator=chance).to(dtype),
        )
        for name, (_, rows, columns) in modules.items()
    }
    return Adapter(factors, RANK, 6.0)


def permuted(weight, heads):
    """Reorder rows as llama.cpp's converter does: LlamaModel.permute, conversion/llama.py."""
    shape = (heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return weight.reshape(shape).swapaxes(1, 2).reshape(weight.shape)


def read(folder):
    found = gguf.GGUFReader(folder / GGUF_FILE)
    return {t.name: np.array(t.data) for t in found.tensors}, found.fields


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_delta_of_every_tensor_is_that_of_its_module_in_llama_cpps_order(base, tmp_path, dtype):
    ours = adapter(dtype)
    tensors, fields = read(ours.save(tmp_path / "out", format="gguf", model=base()))
    assert len(tensors) == 2 * len(MODULES)
    for module, (name, *_) in MODULES.items():
        a, b = tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
        assert a.dtype == b.dtype == np.float32
        expected = ours.delta(module).numpy()
        if module.endswith("q_proj"):
            expected = permuted(expected, HEADS)
        if module.endswith("k_proj"):
            expected = permuted(expected, KV_HEADS)
        np.testing.assert_allclose(ours.alpha / a.shape[0] * (b @ a), expected, atol=1e-6)
    told = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 6.0,
    }
    assert {key: fields[key].contents() for key in told} == told


def test_a_family_that_rotates_halves_keeps_its_order(base, tmp_path):
    ours = adapter()
    folder = base(model_type="qwen3")
    tensors, fields = read(ours.save(tmp_path / "out", format="gguf", model=folder))
    assert fields["general.architecture"].contents() == "qwen3"
    for module, (name, *_) in MODULES.items():
        a, b = ours.factors[module]
        np.testing.assert_array_equal(tensors[f"{name}.lora_a"], a.numpy())
        np.testing.assert_array_equal(tensors[f"{name}.lora_b"], b.numpy())


def test_the_base_is_an_open_model_its_folder_or_what_the_origin_names(base, tmp_path):
    from transformers import LlamaConfig

    class Opened:
        config = LlamaConfig(**LLAMA)

    first = adapter().save(tmp_path / "one", format="gguf", model=Opened())
    second = adapter().save(tmp_path / "two", format="gguf", model=str(base()))
    named = Adapter(adapter().factors, RANK, 6.0, origin=type(adapter().origin)(model=str(base())))
    third = named.save(tmp_path / "three", format="gguf")
    raw = {(folder / GGUF_FILE).read_bytes() for folder in (first, second, third)}
    assert len(raw) == 1


def test_inside_a_larger_model_the_language_models_configuration_counts(base, tmp_path):
    folder = base(model_type="llava", text_config={**LLAMA, "model_type": "qwen2"})
    _, fields = read(adapter().save(tmp_path / "out", format="gguf", model=folder))
    assert fields["general.architecture"].contents() == "qwen2"


REFUSED = {
    "an architecture without a known layout": ({"model_type": "abacus"}, "'abacus'"),
    "no architecture": ({"model_type": None}, "None"),
    "a list as architecture": ({"model_type": ["llama"]}, "llama"),
    "no layers": ({"num_hidden_layers": None}, "number of layers"),
    "endless layers": ({"num_hidden_layers": 10**9}, "number of layers"),
    "heads that do not divide": ({"num_attention_heads": 5}, "5 heads"),
    "no heads": (
        {"num_attention_heads": None, "num_key_value_heads": None},
        "names no num_",
    ),
    "too few layers": ({"num_hidden_layers": 1}, "no tensor of that name"),
}


@pytest.mark.parametrize(("config", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_what_llama_cpp_would_read_wrongly_is_not_written(base, tmp_path, config, named):
    with pytest.raises(AdapterError, match=named) as caught:
        adapter().save(tmp_path / "out", format="gguf", model=base(**config))
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_without_a_base_or_with_another_format_it_says_what_to_give(tmp_path):
    with pytest.raises(AdapterError, match="base model's layout") as caught:
        adapter().save(tmp_path / "out", format="gguf")
    assert "node.model" in caught.value.remedy
    with pytest.raises(AdapterError, match="cannot be read"):
        adapter().save(tmp_path / "out", format="gguf", model=tmp_path / "nowhere")
    with pytest.raises(AdapterError, match="no format 'ggml'"):
        adapter().save(tmp_path / "out", format="ggml")


def test_a_place_that_cannot_be_written_is_told(base, tmp_path):
    (tmp_path / "out" / GGUF_FILE).mkdir(parents=True)
    with pytest.raises(FolderError):
        adapter().save(tmp_path / "out", format="gguf", model=base())
