"""PEFT wraps exactly the modules of a written adapter, whatever else the model has."""

import warnings

import pytest
import torch
import transformers as tf
from peft import PeftModel
from torch import nn

from hivelearn.patch.adapter import Adapter
from hivelearn.patch.origin import Origin

TEXT = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "vocab_size": 64,
}  # fmt: skip
EYE = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 8, "patch_size": 4,
}  # fmt: skip


def _llava():
    eye = tf.CLIPVisionConfig(**EYE, projection_dim=16)
    config = tf.LlavaConfig(
        vision_config=eye, text_config=tf.LlamaConfig(**TEXT), image_token_index=62
    )
    return tf.LlavaForConditionalGeneration(config)


def _gemma3():
    text = TEXT | {"head_dim": 16, "sliding_window": 16}
    config = tf.Gemma3Config(
        text_config=text, vision_config=EYE, mm_tokens_per_image=1, boi_token_index=60,
        eoi_token_index=61, image_token_index=62,
    )  # fmt: skip
    return tf.Gemma3ForConditionalGeneration(config)


class Mixture(nn.Module):
    """Experts are numbered as layers are."""

    def __init__(self):
        super().__init__()
        self.config = {"model_type": "custom", "tie_word_embeddings": False}
        self.model = nn.Module()
        self.model.layers = nn.ModuleList(self._layer() for _ in range(3))

    def _layer(self):
        layer = nn.Module()
        layer.q_proj = nn.Linear(8, 8)
        layer.mlp = nn.Module()
        layer.mlp.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        for expert in layer.mlp.experts:
            expert.up_proj = nn.Linear(8, 8)
        return layer

    def forward(self, x):
        return x


WRAPPED = {
    "the language half of LLaVA": (_llava, lambda n: "language_model" in n and n[-6:] == "q_proj"),
    "the eye of LLaVA": (_llava, lambda n: "vision" in n and n[-6:] == "q_proj"),
    "the language half of Gemma 3": (_gemma3, lambda n: "language_model" in n and "_proj" in n),
    "all layers of a mixture": (Mixture, lambda n: n.endswith(("q_proj", "up_proj"))),
    "layers 1 and 2 of a mixture": (
        Mixture,
        lambda n: ".layers.0." not in n and n.endswith(("q_proj", "up_proj")),
    ),
    "expert 2 of layer 1": (Mixture, lambda n: n == "model.layers.1.mlp.experts.2.up_proj"),
}


@pytest.mark.parametrize(("make", "chosen"), WRAPPED.values(), ids=WRAPPED)
def test_peft_wraps_exactly_the_modules_of_the_adapter(tmp_path, make, chosen):
    model = make()
    factors = {
        name: (torch.randn(2, module.in_features), torch.randn(module.out_features, 2))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and chosen(name)
    }
    assert factors
    adapter = Adapter(factors, 2, 4.0, origin=Origin(task=None))
    adapter.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # keys that are missing or too many
        wrapped = PeftModel.from_pretrained(model, tmp_path)
    found = [n for n, m in wrapped.base_model.model.named_modules() if hasattr(m, "lora_A")]
    assert sorted(found) == sorted(factors)
    assert Adapter.from_model(wrapped).to_bytes() == adapter.to_bytes()
