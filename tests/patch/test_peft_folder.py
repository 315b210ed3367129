"""PEFT is the judge: what it computes from our folders, and what we read from its own."""

import warnings

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional as F
from transformers import AutoModelForCausalLM as Auto
from transformers import Gemma2Config, GPT2Config, LlamaConfig, MixtralConfig, Qwen3Config

from hivelearn.patch.adapter import Adapter
from hivelearn.patch.errors import AdapterError

torch.set_num_threads(1)
SIZES = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
MODELS = {
    "llama": lambda: LlamaConfig(**SIZES),
    "llama tied": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(**SIZES),
    "gemma2": lambda: Gemma2Config(**SIZES),
    "gpt2": lambda: GPT2Config(
        vocab_size=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=None, eos_token_id=None
    ),
}
MIXTURES = {"mixtral": lambda: MixtralConfig(**SIZES, num_local_experts=2)}
TOKENS = torch.arange(24).view(2, 12) % 32


def _model(name="llama"):
    torch.manual_seed(0)
    return Auto.from_config((MODELS | MIXTURES)[name](), attn_implementation="eager").eval()


def _logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def _linears(model):
    """Name -> (d_out, d_in) of the linear layers but the head."""
    head = model.get_output_embeddings()
    shapes = {}
    for name, module in model.named_modules():
        if module is not head and type(module).__name__ in ("Linear", "Conv1D"):
            transposed = type(module).__name__ == "Conv1D"
            shape = tuple(module.weight.shape)
            shapes[name] = shape[::-1] if transposed else shape
    return shapes


def _adapter(shapes, rank=4, alpha=6.0, dtype=torch.float32):
    torch.manual_seed(1)
    factors = {
        name: (torch.randn(rank, d_in).to(dtype) / 4, torch.randn(d_out, rank).to(dtype) / 4)
        for name, (d_out, d_in) in shapes.items()
    }
    return Adapter(factors, rank, alpha)


def _hooked(model, adapter):
    """Logits under the formula of an adapter, without PEFT."""
    modules = dict(model.named_modules())

    def add(a, b):
        return lambda _m, args, out: out + F.linear(F.linear(args[0], a), b) * adapter.scale

    handles = [
        modules[name].register_forward_hook(add(a, b)) for name, (a, b) in adapter.factors.items()
    ]
    logits = _logits(model)
    for handle in handles:
        handle.remove()
    return logits


def _loaded(model, folder):
    """PEFT's model of a folder; a warning (missing or unexpected keys) is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # GPT-2 keeps weights transposed, which PEFT sees for itself and says so.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        return PeftModel.from_pretrained(model, folder).eval()


# --- ours, loaded by PEFT -----------------------------------------------------------------


@pytest.mark.parametrize("name", [*MODELS, *MIXTURES])
def test_peft_loads_what_we_save_with_equal_logits_and_nothing_missing(tmp_path, name):
    model = _model(name)
    adapter = _adapter(_linears(model))
    expected = _hooked(model, adapter)
    assert not torch.equal(expected, _logits(model))
    loaded = _loaded(model, adapter.save(tmp_path))
    assert torch.equal(_logits(loaded), expected)
    assert Adapter.from_model(loaded).to_bytes() == adapter.to_bytes()


CHOICES = {
    "one layer of two": lambda name: ".1." in name,
    "one kind of module": lambda name: name.endswith("q_proj"),
    "unequal layers": lambda name: ".0." in name or name.endswith("q_proj"),
    "a module alone": lambda name: name == "model.layers.1.mlp.up_proj",
}


@pytest.mark.parametrize("choose", CHOICES.values(), ids=CHOICES.keys())
def test_peft_wraps_exactly_the_modules_of_the_adapter(tmp_path, choose):
    model = _model()
    adapter = _adapter({name: shape for name, shape in _linears(model).items() if choose(name)})
    expected = _hooked(model, adapter)
    wrapped = _loaded(model, adapter.save(tmp_path))
    found = [n for n, m in wrapped.base_model.model.named_modules() if hasattr(m, "lora_A")]
    assert sorted(found) == sorted(adapter.factors)
    assert torch.equal(_logits(wrapped), expected)


def test_a_head_can_be_adapted_too(tmp_path):
    model = _model()
    adapter = _adapter({"lm_head": (32, 16), **_linears(model)})
    expected = _hooked(model, adapter)
    assert torch.equal(_logits(_loaded(model, adapter.save(tmp_path))), expected)


# --- theirs, read by us -------------------------------------------------------------------


def _trained(name="llama", **settings):
    """A PEFT model whose factors are all random, as after training."""
    config = LoraConfig(task_type="CAUSAL_LM", **({"target_modules": "all-linear"} | settings))
    model = get_peft_model(_model(name), config).eval()
    torch.manual_seed(2)
    for parameter_name, parameter in model.named_parameters():
        if ".lora_" in parameter_name:
            parameter.data.normal_(std=0.25)
    return model


def _deltas(model):
    """PEFT's own words: what each module adds to its weight."""
    return {
        path.removeprefix("base_model.model."): module.get_delta_weight("default").detach()
        for path, module in model.named_modules()
        if hasattr(module, "lora_A")
    }


PLAIN = {
    "plain": {},
    "alpha that is no multiple of r": {"r": 3, "lora_alpha": 10},
    "rsLoRA": {"use_rslora": True, "lora_alpha": 5},
    "ranks by name": {"rank_pattern": {"q_proj": 3, "mlp.up_proj": 12}},
    "ranks by regular expression": {"rank_pattern": {r".*\.0\..*_proj": 2, "model.layers.1": 5}},
    "ranks anchored": {"rank_pattern": {r"^model.layers.0.self_attn.k_proj": 2}},
    "alphas by name": {"alpha_pattern": {"q_proj": 3, "up_proj": 32, "proj": 100}},
    "alphas by regular expression": {"alpha_pattern": {r"layers\.\d\.mlp\..*": 1, "(k|v)_proj": 4}},
    "the first pattern wins": {"alpha_pattern": {r".*\.q_proj": 3, "q_proj": 30}},
    "an alternative binds as in PEFT": {"alpha_pattern": {"k_proj|up": 3, "q_proj|v_proj": 5}},
    "both, and rsLoRA": {
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"k_proj": 7},
        "use_rslora": True,
    },
    "a module switched off": {"alpha_pattern": {"q_proj": 0}},
    "some layers": {"layers_to_transform": [1], "target_modules": ["q_proj", "up_proj"]},
    "dropout": {"lora_dropout": 0.5},
    "gaussian": {"init_lora_weights": "gaussian"},
}


@pytest.mark.filterwarnings("ignore:.*rank_pattern.*use_rslora:UserWarning")
@pytest.mark.filterwarnings("ignore:.*did not match any targeted module:RuntimeWarning")
@pytest.mark.parametrize("settings", PLAIN.values(), ids=PLAIN.keys())
def test_the_delta_is_peft_s_from_a_model_and_from_a_folder(tmp_path, settings):
    model = _trained(**settings)
    expected = _deltas(model)
    model.save_pretrained(tmp_path)
    for adapter in (Adapter.from_model(model), Adapter.load(tmp_path)):
        assert set(adapter.factors) == set(expected)
        for name, delta in expected.items():
            torch.testing.assert_close(adapter.delta(name), delta, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back_again_the_logits_are_equal(tmp_path, name):
    model = _trained(name)
    expected = _logits(model)
    adapter = Adapter.from_model(model)
    assert torch.equal(_logits(_loaded(_model(name), adapter.save(tmp_path))), expected)
    assert Adapter.load(tmp_path).to_bytes() == adapter.to_bytes()
    assert Adapter.load(tmp_path).alpha == adapter.alpha == 8.0


def test_folding_scales_keeps_what_bfloat16_cannot_say():
    model = _trained(alpha_pattern={"q_proj": 3}, rank_pattern={"k_proj": 5}).to(torch.bfloat16)
    exact = {}
    for path, module in model.named_modules():
        if hasattr(module, "lora_A"):
            a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
            delta = module.scaling["default"] * (b.detach().float() @ a.detach().float())
            exact[path.removeprefix("base_model.model.")] = delta
    adapter = Adapter.from_model(model)
    for name, delta in exact.items():
        torch.testing.assert_close(adapter.delta(name), delta, rtol=1e-6, atol=1e-6)
    assert Adapter.from_model(_trained().to(torch.bfloat16)).dtype == "BF16"


def test_training_on_does_not_change_an_adapter_that_was_taken():
    model = _trained()
    adapter = Adapter.from_model(model)
    before = adapter.root()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert adapter.root() == before


def test_an_adapter_is_taken_by_name_and_from_a_plain_transformers_model():
    model = _trained()
    model.add_adapter("second", LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    assert len(Adapter.from_model(model, "second").factors) == 2
    assert len(Adapter.from_model(model).factors) == 14
    plain = _model()
    plain.add_adapter(LoraConfig(target_modules=["q_proj"]))
    assert set(Adapter.from_model(plain).factors) == {
        f"model.layers.{n}.self_attn.q_proj" for n in (0, 1)
    }


# --- refused ------------------------------------------------------------------------------

EXOTIC = {
    "DoRA": {"use_dora": True},
    "bias": {"bias": "lora_only"},
    "a bias inside": {"lora_bias": True},
    "a saved module": {"modules_to_save": ["lm_head"]},
    "new tokens": {"trainable_token_indices": {"embed_tokens": [0, 1]}},
    "PiSSA": {"init_lora_weights": "pissa"},
    "fast PiSSA": {"init_lora_weights": "pissa_niter_4"},
    "OLoRA": {"init_lora_weights": "olora"},
    "an embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "rank 4097": {"r": 4097},
    "alpha 0": {"lora_alpha": 0},
    "an attack's alpha": {"lora_alpha": 8_000_000},
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("settings", EXOTIC.values(), ids=EXOTIC.keys())
def test_what_is_more_than_a_plain_lora_is_refused_with_a_remedy(tmp_path, settings):
    model = _trained(**settings)
    model.save_pretrained(tmp_path)
    for take in (lambda: Adapter.from_model(model), lambda: Adapter.load(tmp_path)):
        with pytest.raises(AdapterError) as caught:
            take()
        assert len(caught.value.remedy) > 10


def test_another_kind_of_adapter_is_refused():
    config = peft.IA3Config(task_type="CAUSAL_LM")
    with pytest.raises(AdapterError, match="IA3"):
        Adapter.from_model(get_peft_model(_model(), config))


def test_what_is_no_peft_model_is_refused_with_a_remedy():
    with pytest.raises(AdapterError, match="no PEFT adapter") as caught:
        Adapter.from_model(_model())
    assert "get_peft_model" in caught.value.remedy
    with pytest.raises(AdapterError, match="has no adapter 'other'"):
        Adapter.from_model(_trained(), "other")


def test_two_active_adapters_are_not_one():
    model = _trained()
    model.add_adapter("second", LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    model.base_model.set_adapter(["default", "second"])
    with pytest.raises(AdapterError, match="2 active adapters") as caught:
        Adapter.from_model(model)
    assert "name=" in caught.value.remedy


def test_an_adapter_that_touches_nothing_is_refused():
    model = _trained(target_modules=["q_proj"])
    for module in model.modules():
        if hasattr(module, "lora_A"):
            del module.lora_A["default"]
    with pytest.raises(AdapterError, match="touches no linear layer"):
        Adapter.from_model(model)
