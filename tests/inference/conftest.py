"""Small engines of every family, opened once; adapters with a B that is not zero."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hivelearn.inference.loading import load_model
from hivelearn.inference.model_folder import resolve_model
from hivelearn.inference.resident import ResidentEngine
from hivelearn.patch.adapter import Adapter
from hivelearn.testing.models import FAMILIES, small_model

BASE = bytes(32)


@pytest.fixture(scope="session")
def engine_of(tmp_path_factory):
    """Return a function from family to (folder, engine)."""
    opened = {}

    def get(family):
        if family not in opened:
            folder = small_model(tmp_path_factory.mktemp(family), family)
            opened[family] = (folder, ResidentEngine(load_model(folder, "cpu"), BASE))
        return opened[family]

    return get


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def engine(engine_of, family):
    return engine_of(family)[1]


@pytest.fixture(scope="session")
def llama(engine_of):
    return engine_of("llama")[1]


@pytest.fixture(scope="session")
def nano():
    return ResidentEngine(load_model(resolve_model(None), "cpu"), BASE)


def random_adapter(engine, seed=0, rank=3, size=0.05, dtype=torch.float32):
    chance = torch.Generator().manual_seed(seed)
    factors = {
        name: (
            (torch.randn(rank, d_in, generator=chance) * size).to(dtype),
            (torch.randn(d_out, rank, generator=chance) * size).to(dtype),
        )
        for name, (d_out, d_in) in engine.shapes().items()
    }
    return Adapter(factors, rank, 2.0 * rank, engine.base)


@pytest.fixture(scope="session")
def adapter_for():
    return random_adapter


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory):
    """A small Llama with its tokenizer as a GGUF, written as llama.cpp's converter does."""
    return as_gguf(small_model(tmp_path_factory.mktemp("of-gguf")), tmp_path_factory.mktemp("gguf"))


def as_gguf(folder, out):
    import gguf

    config = json.loads((folder / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    path = out / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    add_tokenizer(writer, folder, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        numbers = tensor.numpy()
        if name.endswith("q_proj.weight"):
            numbers = interleaved(numbers, heads)
        if name.endswith("k_proj.weight"):
            numbers = interleaved(numbers, kv_heads)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tokenizer(writer, folder, config):
    import gguf

    table = json.loads((folder / "tokenizer.json").read_text())
    special = {token["content"] for token in table["added_tokens"]}
    tokens = sorted(table["model"]["vocab"], key=table["model"]["vocab"].get)
    kinds = (gguf.TokenType.NORMAL, gguf.TokenType.CONTROL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds[token in special] for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in table["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(value=False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text())


def interleaved(weight, heads):
    """Order the rows of each head as llama.cpp rotates them: neighbours, not halves."""
    out, width = weight.shape
    halves = weight.reshape(heads, 2, out // heads // 2, width)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(out, width))
