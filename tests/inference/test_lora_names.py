"""Which matrices a LoRA reaches, and that another spelling of them is understood."""

import pytest
import torch
import transformers as tf

from hivelearn.inference import lora
from hivelearn.inference.engine import AdapterMismatchError
from hivelearn.patch.adapter import Adapter

SIZES = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 32, "head_dim": 8,
}  # fmt: skip
MIXTURE = {"num_experts": 2, "moe_intermediate_size": 8, "num_experts_per_tok": 1}
EXPERTS = ("model.layers.mlp.experts.down_proj", "model.layers.mlp.experts.gate_up_proj")
LEFT = {
    "llama": (tf.LlamaConfig(**SIZES), ()),
    "gpt2": (tf.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=32), ()),
    "qwen3-moe": (
        tf.Qwen3MoeConfig(**SIZES, **MIXTURE),
        (*EXPERTS, "model.layers.mlp.gate.weight"),
    ),
    "a mixture with dense layers": (
        tf.Qwen3MoeConfig(**SIZES, **MIXTURE, mlp_only_layers=[0]),
        (*EXPERTS, "model.layers.mlp.gate.weight"),
    ),
}


@pytest.mark.parametrize(("config", "left"), LEFT.values(), ids=LEFT)
def test_a_model_says_which_matrices_no_lora_reaches(config, left):
    with torch.device("meta"):
        assert lora.left_out(tf.AutoModelForCausalLM.from_config(config)) == left


SHAPES = {"model.layers.0.self_attn.q_proj": (16, 16), "model.layers.0.mlp.up_proj": (24, 16)}


def _adapter(*names):
    return Adapter(dict.fromkeys(names, (torch.ones(2, 16), torch.ones(16, 2))), 2, 2.0)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.q_proj",
        "model.language_model.layers.0.self_attn.q_proj",
        "layers.0.self_attn.q_proj",
    ],
)
def test_an_adapter_takes_the_names_of_the_model(name):
    named = lora.named_as(SHAPES, _adapter(name))
    assert list(named.factors) == ["model.layers.0.self_attn.q_proj"]
    lora.check_fits(SHAPES, named)


@pytest.mark.parametrize(
    "names",
    [
        ("model.layers.7.self_attn.q_proj",),
        ("layers.0.self_attn.q_proj", "model.layers.0.self_attn.q_proj"),
    ],
    ids=["a layer that is not there", "two names for one module"],
)
def test_what_has_no_single_counterpart_keeps_its_name_and_is_refused(names):
    with pytest.raises(AdapterMismatchError):
        lora.check_fits(SHAPES, lora.named_as(SHAPES, _adapter(*names)))
