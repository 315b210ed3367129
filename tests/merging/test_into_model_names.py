"""Names on disk are not names in memory: a folder and an open model take a merge alike."""

import pytest
import torch
import transformers as tf
from peft import LoraConfig, get_peft_model

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files import checkpoint
from hivelearn.merging.into_model import merge_into
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.run.options import MergeOptions
from hivelearn.patch.adapter import Adapter

TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "vocab_size": 64,
}  # fmt: skip
EYE = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 8, "patch_size": 4,
}  # fmt: skip
TOKENS = torch.arange(8).reshape(1, 8)
LINEAR = MergeRecipe("linear")


def _gemma3():
    text = TEXT | {"head_dim": 16, "sliding_window": 16}
    config = tf.Gemma3Config(
        text_config=text, vision_config=EYE, mm_tokens_per_image=1, boi_token_index=60,
        eoi_token_index=61, image_token_index=62,
    )  # fmt: skip
    return tf.Gemma3ForConditionalGeneration(config)


def _llava():
    eye = tf.CLIPVisionConfig(**EYE, projection_dim=16)
    config = tf.LlavaConfig(
        vision_config=eye, text_config=tf.LlamaConfig(**TEXT), image_token_index=62
    )
    return tf.LlavaForConditionalGeneration(config)


def _mixtral():
    return tf.MixtralForCausalLM(tf.MixtralConfig(**TEXT, num_local_experts=12))


def _qwen3_moe():
    config = tf.Qwen3MoeConfig(
        **TEXT, num_experts=3, moe_intermediate_size=24, num_experts_per_tok=2, head_dim=16
    )
    return tf.Qwen3MoeForCausalLM(config)


MODELS = {"gemma3": _gemma3, "llava": _llava, "mixtral": _mixtral, "qwen3-moe": _qwen3_moe}
SEEN = r".*language_model.*\.(q_proj|v_proj|up_proj)"


def _saved(name, path):
    torch.manual_seed(0)
    MODELS[name]().save_pretrained(path)
    return path


def _opened(name, path):
    return type(MODELS[name]()).from_pretrained(path).eval()


def _logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_and_an_open_model_compute_what_peft_computes(tmp_path, name):
    base = _saved(name, tmp_path / "base")
    targets = SEEN if name in ("gemma3", "llava") else ["q_proj", "v_proj"]
    torch.manual_seed(1)
    lora = LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    tuned = get_peft_model(_opened(name, base), lora).eval()
    tuned.save_pretrained(tmp_path / "lora")
    options = MergeOptions(out=tmp_path / "out")
    merge_into(base, [tmp_path / "lora"], LINEAR, options)
    torch.testing.assert_close(_logits(_opened(name, tmp_path / "out")), _logits(tuned))
    opened = merge_into(_opened(name, base), [tmp_path / "lora"], LINEAR)
    torch.testing.assert_close(_logits(opened), _logits(tuned))


EARLIER = {
    "gemma3": "language_model.model.layers.1.self_attn.q_proj",
    "llava": "language_model.model.layers.1.self_attn.q_proj",
    "mixtral": "layers.1.self_attn.q_proj",
}


@pytest.mark.parametrize("name", EARLIER)
def test_an_adapter_of_an_earlier_version_finds_its_modules(tmp_path, made, name):
    base = _saved(name, tmp_path / "base")
    earlier = made(1, shapes={EARLIER[name]: (32, 32)})
    folder = merge_into(base, [earlier], LINEAR, MergeOptions(out=tmp_path / "out"))
    changed = _opened(name, folder)
    before = dict(_opened(name, base).named_parameters())
    moved = {n: p - before[n] for n, p in changed.named_parameters() if not p.equal(before[n])}
    (where,) = moved
    assert where.endswith("layers.1.self_attn.q_proj.weight")
    (delta,) = moved.values()
    torch.testing.assert_close(delta, earlier.delta(EARLIER[name]), atol=1e-5, rtol=1e-5)
    opened = merge_into(_opened(name, base), [earlier], LINEAR)
    torch.testing.assert_close(_logits(opened), _logits(changed))


def _experts(base, numbers):
    """A LoRA on single experts, as an earlier version of transformers named them."""
    chance, factors = torch.Generator().manual_seed(2), {}
    for file in checkpoint.files_of(base):
        for key, row in checkpoint.header(file)[0].items():
            if any(f".experts.{number}." in key for number in numbers):
                d_out, d_in = row["shape"]
                pair = (
                    torch.randn(2, d_in, generator=chance),
                    torch.randn(d_out, 2, generator=chance),
                )
                factors[key.removesuffix(".weight")] = tuple(t * 0.3 for t in pair)
    return Adapter(factors, 2, 4.0)


@pytest.mark.parametrize("name", ["mixtral", "qwen3-moe"])
def test_a_lora_on_single_experts_reaches_its_part_of_the_fused_tensor(tmp_path, name):
    base = _saved(name, tmp_path / "base")
    experts = _experts(base, (0, 2) if name == "qwen3-moe" else (2, 10))
    assert len(experts.factors) == 12
    folder = merge_into(base, [experts], LINEAR, MergeOptions(out=tmp_path / "out"))
    opened = merge_into(_opened(name, base), [experts], LINEAR)
    written = _opened(name, folder)
    assert not torch.allclose(_logits(written), _logits(_opened(name, base)), atol=1e-4)
    for one, other in zip(opened.parameters(), written.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_expert_that_the_model_lacks_leaves_it_as_it_was(tmp_path, made):
    base = _saved("mixtral", tmp_path / "base")
    name = "model.layers.0.block_sparse_moe.experts.12.w1"
    lost = made(1, shapes={"model.layers.0.self_attn.q_proj": (32, 32), name: (48, 32)})
    model = _opened("mixtral", base)
    for target, options in ((model, None), (base, MergeOptions(out=tmp_path / "out"))):
        with pytest.raises(MergeError, match="no weight for"):
            merge_into(target, [lost], LINEAR, options)
    before = _opened("mixtral", base).state_dict()
    assert all(torch.equal(each, before[n]) for n, each in model.state_dict().items())
    assert not (tmp_path / "out").exists()


def test_a_compiled_model_takes_a_merge_as_a_plain_one(tmp_path, made):
    base = _saved("mixtral", tmp_path / "base")
    adapter = made(1, shapes={"model.layers.0.self_attn.q_proj": (32, 32)})
    plain = merge_into(_opened("mixtral", base), [adapter], LINEAR)
    compiled = merge_into(
        torch.compile(_opened("mixtral", base), backend="eager"), [adapter], LINEAR
    )
    assert torch.equal(_logits(compiled._orig_mod), _logits(plain))
