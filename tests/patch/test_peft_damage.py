"""A folder that is no plain LoRA, or no longer, is refused in a sentence; nothing is unpickled."""

import json
import os

import pytest
import safetensors.torch
import torch

from hivelearn.patch.adapter import Adapter
from hivelearn.patch.errors import AdapterError
from hivelearn.patch.peft_config import CONFIG_FILE, WEIGHTS_FILE
from hivelearn.patch.peft_folder import CONFIG_MAX_BYTES, open_folder

Q = "base_model.model.q.lora_"


@pytest.fixture
def folder(tmp_path):
    """A folder of ours, good until somebody damages it."""
    return Adapter({"q": (torch.ones(2, 3), torch.ones(5, 2))}, 2, 4.0).save(tmp_path)


def test_the_folder_is_good(folder):
    adapter = Adapter.load(folder)
    assert (adapter.rank, adapter.alpha, list(adapter.factors)) == (2, 4.0, ["q"])


def _config(**changes):
    def damage(folder):
        table = json.loads((folder / CONFIG_FILE).read_text()) | changes
        (folder / CONFIG_FILE).write_text(json.dumps(table))

    return damage


def _weights(**tensors):
    named = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return lambda folder: safetensors.torch.save_file(named, folder / WEIGHTS_FILE)


def _factor_pair(a, b, module="q"):
    prefix = f"base_model.model.{module}.lora_"
    tensors = {f"{prefix}A.weight": a, f"{prefix}B.weight": b}
    return lambda folder: safetensors.torch.save_file(tensors, folder / WEIGHTS_FILE)


def _write(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def _pickled(folder):
    (folder / WEIGHTS_FILE).rename(folder / "adapter_model.bin")


def _pipe(name):
    def damage(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return damage


def _endless(folder):
    (folder / CONFIG_FILE).unlink()
    (folder / CONFIG_FILE).symlink_to("/dev/zero")


A, B = torch.ones(2, 3), torch.ones(5, 2)
DAMAGE = {
    "no config": lambda folder: (folder / CONFIG_FILE).unlink(),
    "a folder as config": lambda folder: [
        (folder / CONFIG_FILE).unlink(),
        (folder / CONFIG_FILE).mkdir(),
    ],
    "config is cut": _write(CONFIG_FILE, b'{"peft_type": "LO'),
    "config is binary": _write(CONFIG_FILE, b"\xff\xfe\x00"),
    "config is a list": _write(CONFIG_FILE, b"[]"),
    "config is deep": _write(CONFIG_FILE, b"[" * 200_000),
    "no type": _config(peft_type=None),
    "another type": _config(peft_type="IA3"),
    "alpha is text": _config(lora_alpha="much"),
    "alpha is a list": _config(lora_alpha=[1]),
    "alpha is negative": _config(lora_alpha=-8),
    "alpha is infinite": _config(lora_alpha=float("inf")),
    "alpha is no number": _config(lora_alpha=float("nan")),
    "alpha is beyond all floats": _config(lora_alpha=10**400),
    "patterns are a list": _config(alpha_pattern=["q"]),
    "a pattern is no regular expression": _config(alpha_pattern={"(": 1}),
    "a pattern is nested beyond all bounds": _config(alpha_pattern={"(" * 9_000 + ")" * 9_000: 1}),
    "a setting of a later PEFT": _config(use_something_new=True),
    "LoRA-GA": _config(init_lora_weights="lora_ga"),
    "LoftQ": _config(init_lora_weights="loftq"),
    "CorDA": _config(init_lora_weights="corda"),
    "a beginning of a later PEFT": _config(init_lora_weights="residual_of_something"),
    "a beginning that is a list": _config(init_lora_weights=["pissa"]),
    "replicated layers": _config(layer_replication=[[0, 2]]),
    "pickled weights": _pickled,
    "weights are cut": lambda folder: _write(
        WEIGHTS_FILE, (folder / WEIGHTS_FILE).read_bytes()[:-1]
    )(folder),
    "weights are empty": _write(WEIGHTS_FILE, b""),
    "weights are a folder": lambda folder: [
        (folder / WEIGHTS_FILE).unlink(),
        (folder / WEIGHTS_FILE).mkdir(),
    ],
    "no factors": _weights(),
    "a replaced embedding": _weights(base_model__model__embed_tokens__weight=A),
    "A without B": _weights(base_model__model__q__lora_A__weight=A),
    "B without A": _weights(base_model__model__q__lora_B__weight=B),
    "a base weight": _factor_pair(A, B, "q.base_layer"),
    "a vector": _factor_pair(torch.ones(2), B),
    "a number": _factor_pair(torch.tensor(1.0), torch.tensor(1.0)),
    "a convolution": _factor_pair(torch.ones(2, 3, 1, 1), torch.ones(5, 2, 1, 1)),
    "two ranks in one module": _factor_pair(torch.ones(3, 3), B),
    "a rank beyond all bounds": _factor_pair(torch.ones(4_097, 1), torch.ones(1, 4_097)),
    "a side of nothing": _factor_pair(torch.ones(2, 0), torch.ones(5, 2)),
    "a side beyond all bounds": _factor_pair(A, torch.empty((1 << 20) + 1, 2, dtype=torch.float32)),
    "a rank that no data stands for": _factor_pair(torch.ones(20_000, 0), torch.ones(0, 20_000)),
    "a layer in other digits": _factor_pair(A, B, "layers.\u00b2.q"),
    "a name of control characters": _factor_pair(A, B, "a\x1b[2J"),
    "rank 0": _factor_pair(torch.ones(0, 3), torch.ones(5, 0)),
    "integers": _factor_pair(A.int(), B.int()),
    "complex numbers": _factor_pair(A.to(torch.complex64), B.to(torch.complex64)),
    "eight bits": _factor_pair(A.to(torch.float8_e4m3fn), B.to(torch.float8_e4m3fn)),
    "config is a pipe": _pipe(CONFIG_FILE),
    "weights are a pipe": _pipe(WEIGHTS_FILE),
    "config is a device that never ends": _endless,
    "config is endless": _write(CONFIG_FILE, b" " * (CONFIG_MAX_BYTES + 1)),
    "alpha is beyond any sane one": _config(lora_alpha=1e9),
    "alpha is next to nothing": _config(lora_alpha=1e-300),
    "another rank than that of the factors": _config(r=64, lora_alpha=64),
    "a negative rank": _config(r=-2),
    "alpha is 0": _config(lora_alpha=0),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("door", [Adapter.load, open_folder], ids=["whole", "unread"])
def test_a_damaged_folder_is_refused_with_a_remedy(folder, damage, door):
    DAMAGE[damage](folder)
    with pytest.raises(AdapterError) as caught:
        door(folder)
    assert len(caught.value.remedy) > 10


def test_factors_of_two_types_are_no_adapter_though_each_may_be_merged(folder):
    _factor_pair(A, B.half())(folder)
    assert open_folder(folder).shapes == {"q": (5, 3, 2)}
    with pytest.raises(AdapterError, match="float16"):
        Adapter.load(folder)


@pytest.mark.parametrize("name", ["\x1b]0;title\x07", "x\u202ey", "a\nb", "\ud800"])
def test_what_a_folder_says_reaches_no_terminal_as_it_is(folder, name):
    _config(**{f"use_{name}": ["x" * 1000] * 1000})(folder)
    with pytest.raises(AdapterError, match="the adapter uses use_") as caught:
        Adapter.load(folder)
    told = str(caught.value)
    assert len(told) < 500
    assert told.replace("\n", "", 1).isprintable()
    told.encode()


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(AdapterError, match="save_pretrained"):
        Adapter.load(tmp_path / "nowhere")


def test_pickled_weights_are_never_opened(folder, tmp_path):
    """A pickle runs code when opened; this one would leave a trace."""
    trace = tmp_path / "trace"
    (folder / WEIGHTS_FILE).unlink()
    bomb = b"cbuiltins\nopen\n(V" + str(trace).encode() + b"\nVw\ntR."
    (folder / "adapter_model.bin").write_bytes(bomb)
    (folder / "adapter_model.pt").write_bytes(bomb)
    with pytest.raises(AdapterError, match=r"holds no adapter_model\.safetensors") as caught:
        Adapter.load(folder)
    assert "pickled" in caught.value.remedy
    assert not trace.exists()


def test_what_later_versions_leave_switched_off_is_no_obstacle(folder):
    _config(use_something_new=False, something_else=None, more=[], runtime_config={"a": 1})(folder)
    assert Adapter.load(folder).rank == 2
