"""One module, one name, however the run was wrapped and whoever saved it."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from hivelearn.patch.adapter import Adapter
from hivelearn.patch.errors import AdapterError
from hivelearn.patch.module_names import unwrapped
from hivelearn.patch.peft_config import CONFIG_FILE, WEIGHTS_FILE

torch.set_num_threads(1)
Q = "model.layers.0.self_attn.q_proj"

PATHS = {
    "PEFT": f"base_model.model.{Q}",
    "nothing around it": Q,
    "a compiled model": f"_orig_mod.base_model.model.{Q}",
    "a compiled base": f"base_model.model._orig_mod.{Q}",
    "a compiled layer": "base_model.model.model.layers.0._orig_mod.self_attn.q_proj",
    "data parallel": f"module.base_model.model.{Q}",
    "data parallel, compiled": f"module._orig_mod.base_model.model.{Q}",
    "DeepSpeed around data parallel": f"module.module.base_model.model.{Q}",
    "data parallel without PEFT's prefix": f"module.{Q}",
    "FSDP by layer": "_fsdp_wrapped_module.base_model.model.model.layers.0._fsdp_wrapped_module."
    "self_attn.q_proj",
    "checkpointed activations": "base_model.model.model.layers.0._checkpoint_wrapped_module."
    "self_attn.q_proj",
    "fairscale": f"_fpw_module.base_model.model.{Q}",
    "Lightning Fabric": f"_forward_module.module.base_model.model.{Q}",
    "PEFT twice": f"base_model.model.base_model.model.{Q}",
    "a part of a larger model": f"thinker.base_model.model.{Q}",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_what_wraps_a_module_is_no_part_of_its_name(path):
    assert unwrapped(path) == Q


def test_a_part_of_the_model_that_only_looks_like_a_wrapper_stays():
    assert unwrapped(f"base_model.model.module.{Q}") == f"module.{Q}"
    assert unwrapped("encoder.module.q") == "encoder.module.q"


# --- folders ------------------------------------------------------------------------------

A, B = torch.randn(4, 6), torch.randn(8, 4)


def _folder(path, tensors, **config):
    path.mkdir()
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path / WEIGHTS_FILE)
    told = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]} | config
    (path / CONFIG_FILE).write_text(json.dumps(told))
    return path


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("middle", ["", ".default", ".my-adapter"])
def test_a_folder_is_the_same_adapter_whoever_saved_it(tmp_path, path, middle):
    tensors = {f"{path}.lora_{f}{middle}.weight": t for f, t in (("A", A), ("B", B))}
    (module,) = (adapter := Adapter.load(_folder(tmp_path / "it", tensors))).factors
    assert module == Q
    assert torch.equal(adapter.delta(Q), 2.0 * B @ A)


K = "base_model.model.q.lora_"
NOT_ONE = {
    "two adapters": (
        {f"{K}{f}.{n}.weight": t for n in ("one", "two") for f, t in (("A", A), ("B", B))},
        "2 adapters: one, two",
        "selected_adapters",
    ),
    "one module under two names": (
        {f"{p}q.lora_{f}.weight": t for p in ("", "module.") for f, t in (("A", A), ("B", B))},
        "both a factor of q",
        "each module once",
    ),
    "another tool's names": (
        {"lora_unet_q.lora_down.weight": A, "lora_unet_q.lora_up.weight": B},
        "another tool than PEFT",
        "lora_A.weight",
    ),
    "the model's own weights besides": (
        {f"{K}A.weight": A, f"{K}B.weight": B, "base_model.model.norm.weight": A},
        "no LoRA factor",
        "save_pretrained",
    ),
}


@pytest.mark.parametrize(("tensors", "says", "remedy"), NOT_ONE.values(), ids=NOT_ONE)
def test_keys_that_are_no_one_adapter_are_refused_with_what_to_do(tmp_path, tensors, says, remedy):
    with pytest.raises(AdapterError, match=says) as caught:
        Adapter.load(_folder(tmp_path / "it", tensors))
    assert remedy in caught.value.remedy


def test_shells_that_a_scattered_save_leaves_are_refused_by_what_left_them(tmp_path):
    empty = {f"{K}{f}.weight": torch.empty(0) for f in "AB"}
    for name, tensors in (("shells", empty), ("nothing", {})):
        with pytest.raises(AdapterError, match=r"no numbers|no tensor") as caught:
            Adapter.load(_folder(tmp_path / name, tensors))
        assert "ather" in caught.value.remedy


PLACES = {
    "a file of the folder": ("it/adapter_model.safetensors", "is a file"),
    "a GGUF": ("adapter.gguf", "GGUF"),
    "a name on a hub": ("someone/some-adapter", "from_pretrained"),
}


@pytest.mark.parametrize(("place", "says"), PLACES.values(), ids=PLACES)
def test_what_is_no_folder_is_refused_with_what_to_give(tmp_path, place, says):
    _folder(tmp_path / "it", {f"{K}A.weight": A, f"{K}B.weight": B})
    with pytest.raises(AdapterError) as caught:
        Adapter.load(tmp_path / place)
    assert says in str(caught.value)


# --- mlx-lm -------------------------------------------------------------------------------


def _mlx(path, tensors=None, **config):
    path.mkdir()
    tensors = tensors or {f"{Q}.lora_a": A.T.contiguous(), f"{Q}.lora_b": B.T.contiguous()}
    save_file(tensors, path / "adapters.safetensors")
    told = {"fine_tune_type": "lora", "lora_parameters": {"rank": 4, "scale": 20.0}} | config
    (path / CONFIG_FILE).write_text(json.dumps(told))
    return path


def test_a_folder_of_mlx_lm_is_read_as_what_mlx_lm_computes(tmp_path):
    adapter = Adapter.load(_mlx(tmp_path / "mlx"))
    x = torch.randn(3, 6)
    wanted = 20.0 * ((x @ A.T) @ B.T)
    torch.testing.assert_close(x @ adapter.delta(Q).T, wanted)
    again = Adapter.load(adapter.save(tmp_path / "peft"))
    assert again.to_bytes() == adapter.to_bytes()


MLX = {
    "DoRA": {"fine_tune_type": "dora"},
    "no scale": {"lora_parameters": {"rank": 4}},
    "an endless scale": {"lora_parameters": {"rank": 4, "scale": float("inf")}},
    "a scale beyond all bounds": {"lora_parameters": {"rank": 4, "scale": 1e9}},
    "an alpha besides": {"lora_parameters": {"rank": 4, "scale": 1.0, "alpha": 16}},
    "no parameters": {"lora_parameters": None},
    "a magnitude": {"tensors": {f"{Q}.m": torch.ones(3)}},
    "one factor": {"tensors": {f"{Q}.lora_a": A}},
}


@pytest.mark.parametrize("change", MLX.values(), ids=MLX)
def test_what_mlx_lm_trains_besides_is_refused_with_a_remedy(tmp_path, change):
    with pytest.raises(AdapterError) as caught:
        Adapter.load(_mlx(tmp_path / "mlx", **change))
    assert len(caught.value.remedy) > 10


# --- open models --------------------------------------------------------------------------


def _peft():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return get_peft_model(AutoModelForCausalLM.from_config(config), lora)


def _compiled_layers(model):
    layers = model.base_model.model.model.layers
    for place, layer in enumerate(layers):
        layers[place] = torch.compile(layer, backend="eager")
    return model


class Engine(nn.Module):
    """What data-parallel engines look like from outside."""

    def __init__(self, model):
        super().__init__()
        self.module = model


WRAPPED = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "layers compiled one by one": _compiled_layers,
    "in an engine": Engine,
    "in an engine, twice, compiled": lambda m: Engine(Engine(torch.compile(m, backend="eager"))),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_an_open_model_is_the_same_adapter_however_it_is_wrapped(wrap):
    assert Adapter.from_model(wrap(_peft())).to_bytes() == Adapter.from_model(_peft()).to_bytes()


def test_a_model_that_holds_a_peft_model_says_where():
    outer = nn.Module()
    outer.thinker = _peft()
    with pytest.raises(AdapterError, match="'thinker'") as caught:
        Adapter.from_model(outer)
    assert "from_model(model.thinker)" in caught.value.remedy


def test_factors_that_are_not_here_are_refused():
    with pytest.raises(AdapterError, match="meta device") as caught:
        Adapter.from_model(_peft().to("meta"))
    assert "Gather" in caught.value.remedy


def test_one_of_many_adapters_is_taken_by_its_name():
    model = _peft()
    model.add_adapter("other", LoraConfig(r=2, target_modules=["o_proj"], init_lora_weights=False))
    assert Adapter.from_model(model, adapter_name="other").targets == ("o_proj",)
    assert Adapter.from_model(model).targets == ("q_proj", "v_proj")
    with pytest.raises(AdapterError, match="only default, other"):
        Adapter.from_model(model, adapter_name="third")
