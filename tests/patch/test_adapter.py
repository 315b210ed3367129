"""An adapter is a plain LoRA or does not exist; its bytes are one on every machine."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.errors import UsageError
from hivelearn.patch import chunks
from hivelearn.patch import safetensors_header as header
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.errors import AdapterError
from hivelearn.patch.peft_config import WEIGHTS_FILE

NAN = float("nan")


def _factors(*modules, rank=2, dtype=torch.float32, seed=0):
    chance = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=chance).to(dtype)
    return {name: (draw(rank, 3), draw(5, rank)) for name in modules}


MODULES = ("model.layers.1.mlp.up", "model.layers.0.mlp.up", "lm_head")
REFUSED = {
    "no modules": lambda: Adapter({}, 2, 4.0),
    "rank 0": lambda: Adapter(_factors("q"), 0, 4.0),
    "rank 4097": lambda: Adapter(_factors("q", rank=4097), 4097, 4.0),
    "alpha 0": lambda: Adapter(_factors("q"), 2, 0.0),
    "alpha below its unit": lambda: Adapter(_factors("q"), 2, 1e-7),
    "negative alpha": lambda: Adapter(_factors("q"), 2, -1.0),
    "alpha of an attack": lambda: Adapter(_factors("q"), 2, 8e6),
    "infinite alpha": lambda: Adapter(_factors("q"), 2, float("inf")),
    "alpha is no number": lambda: Adapter(_factors("q"), 2, NAN),
    "another rank": lambda: Adapter(_factors("q", rank=3), 2, 4.0),
    "B of another rank": lambda: Adapter({"q": (torch.ones(2, 3), torch.ones(5, 3))}, 2, 4.0),
    "a vector": lambda: Adapter({"q": (torch.ones(2), torch.ones(5, 2))}, 2, 4.0),
    "a convolution": lambda: Adapter({"q": (torch.ones(2, 3, 1, 1), torch.ones(5, 2))}, 2, 4.0),
    "no input": lambda: Adapter({"q": (torch.ones(2, 0), torch.ones(5, 2))}, 2, 4.0),
    "too wide": lambda: Adapter({"q": (torch.ones(1, 2**20 + 1), torch.ones(1, 1))}, 1, 4.0),
    "float64": lambda: Adapter(_factors("q", dtype=torch.float64), 2, 4.0),
    "integers": lambda: Adapter(
        {"q": (torch.ones(2, 3, dtype=torch.int32), torch.ones(5, 2, dtype=torch.int32))}, 2, 4.0
    ),
    "two types in a module": lambda: Adapter(
        {"q": (torch.ones(2, 3), torch.ones(5, 2).half())}, 2, 4
    ),
    "two types in two modules": lambda: Adapter(
        _factors("q") | _factors("k", dtype=torch.bfloat16), 2, 4.0
    ),
    "too many tensors": lambda: Adapter(
        dict.fromkeys([f"m{n}" for n in range(2_049)], (torch.ones(1, 1), torch.ones(1, 1))), 1, 1.0
    ),
    "a forbidden name": lambda: Adapter(_factors("q_proj.base_layer"), 2, 4.0),
    "a path as name": lambda: Adapter(_factors("../../etc/passwd"), 2, 4.0),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_plain_lora_is_refused_with_a_remedy(make):
    with pytest.raises(AdapterError) as caught:
        make()
    assert isinstance(caught.value, UsageError)
    assert len(caught.value.remedy) > 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bytes_are_read_back_bit_for_bit(dtype):
    adapter = Adapter(_factors(*MODULES, dtype=dtype), 2, 4.0, bytes(32))
    again = Adapter.from_bytes(adapter.to_bytes(), 4.0, bytes(32))
    assert again.to_bytes() == adapter.to_bytes()
    assert (again.rank, again.alpha, again.base) == (2, 4.0, bytes(32))
    for name, pair in adapter.factors.items():
        assert all(torch.equal(x, y) for x, y in zip(pair, again.factors[name], strict=True))


def test_not_a_number_and_infinity_travel_as_they_are():
    """What is finite is the gate's question: a format that changed them would hide them."""
    a = torch.tensor([[NAN, float("inf")]])
    adapter = Adapter({"q": (a, torch.ones(1, 1))}, 1, 1.0)
    read = Adapter.from_bytes(adapter.to_bytes(), 1.0).factors["q"][0]
    assert read.view(torch.int32).tolist() == a.view(torch.int32).tolist()


@given(st.permutations(MODULES))
def test_the_order_of_modules_does_not_count(modules):
    factors = _factors(*MODULES)
    shuffled = Adapter({name: factors[name] for name in modules}, 2, 4.0)
    assert shuffled.to_bytes() == Adapter(factors, 2, 4.0).to_bytes()
    assert list(shuffled.factors) == sorted(MODULES)


def test_tensors_are_sorted_by_their_whole_names():
    """A module inside a module: "m" comes before "m.k", but "m.k.lora_A" before "m.lora_A"."""
    adapter = Adapter(_factors("m", "m.k"), 2, 4.0)
    again = Adapter.from_bytes(adapter.to_bytes(), 4.0)
    assert all(torch.equal(again.factors[m][0], adapter.factors[m][0]) for m in ("m", "m.k"))


def test_strides_do_not_count():
    a, b = torch.arange(6.0).view(3, 2).T, torch.arange(10.0).view(2, 5).T
    assert not a.is_contiguous()
    straight = Adapter({"q": (a.contiguous(), b.contiguous())}, 2, 4.0)
    assert Adapter({"q": (a, b)}, 2, 4.0).to_bytes() == straight.to_bytes()


def test_modules_may_share_one_tensor():
    a, b = _factors("q")["q"]
    shared = Adapter({"q": (a, b), "k": (a, b)}, 2, 4.0)
    apart = Adapter({"q": (a.clone(), b.clone()), "k": (a.clone(), b.clone())}, 2, 4.0)
    assert shared.to_bytes() == apart.to_bytes()


def test_the_root_is_that_of_the_chunks_and_one_bit_changes_it():
    adapter = Adapter(_factors(*MODULES), 2, 4.0)
    assert adapter.root() == chunks.root(chunks.leaves_of(adapter.to_bytes()))
    a, b = adapter.factors["lm_head"]
    bits = a.clone().view(torch.int32)
    bits[0, 0] ^= 1
    changed = Adapter({**adapter.factors, "lm_head": (bits.view(torch.float32), b)}, 2, 4.0)
    assert changed.root() != adapter.root()


SCRIPT = """
import hashlib, torch
from hivelearn import identity
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Label, seal
names = {"model.layers.%d.%s" % (n, part) for n in range(9) for part in ("q", "k", "mlp.up")}
factors = {name: (torch.full((2, 3), len(name)), torch.full((5, 2), 0.5)) for name in names}
adapter = Adapter({name: (a.float(), b) for name, (a, b) in factors.items()}, 2, 4.0)
me = identity.make(bytes(32), bytes([1]) * 32, 1_700_000_000)
label = Label(domain="roman", base=bytes(32), seq=0, prev=None, now_s=1_700_000_000.0)
patch = seal(adapter, label, me)
print(hashlib.sha256(adapter.to_bytes()).hexdigest(), hashlib.sha256(patch.envelope).hexdigest())
"""


def test_bytes_are_one_in_every_process():
    """Sets and dictionaries order by hash seed; what is signed must not."""
    heard = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        heard.add(done.stdout)
    # Written by version 1, and the same for ever: ids and signatures depend on it.
    payload = "e7c2949e344daf1e75fa198e01874a41e0e3bb9ccdfcd8d330bcc0fd2b3a193d"
    envelope = "7790bcc542e6adb566a9cd7673c032f8817aab52fef432d1638499dd9d6d05a1"
    assert heard == {f"{payload} {envelope}\n"}


@given(st.floats(1e-3, 60_000.0))
def test_alpha_is_a_multiple_of_a_millionth_so_that_signing_it_changes_nothing(alpha):
    adapter = Adapter(_factors("q"), 2, alpha)
    assert adapter.alpha == pytest.approx(alpha, abs=0.5e-6)
    assert Adapter(_factors("q"), 2, adapter.alpha).alpha == adapter.alpha


def test_delta_is_alpha_over_rank_times_b_a_in_float32():
    factors = _factors("q", dtype=torch.bfloat16)
    a, b = factors["q"]
    delta = Adapter(factors, 2, 6.0).delta("q")
    assert delta.dtype == torch.float32
    assert torch.equal(delta, 3.0 * (b.float() @ a.float()))


def test_it_tells_its_size_not_its_numbers():
    adapter = Adapter(_factors(*MODULES), 2, 4.0)
    assert repr(adapter) == "Adapter(rank=2, alpha=4, 3 modules, F32, 0.00 MB)"
    assert adapter.nbytes == 3 * (2 * 3 + 5 * 2) * 4
    assert adapter.targets == ("lm_head", "up")
    assert adapter.layers == (0, 1)
    assert adapter.scale == 2.0


def test_factors_leave_the_graph():
    a, b = torch.ones(2, 3, requires_grad=True), torch.ones(5, 2, requires_grad=True)
    assert not any(t.requires_grad for t in Adapter({"q": (a, b)}, 2, 1.0).factors["q"])


def _layers(*numbers, inside=("self_attn.q_proj", "mlp.up")):
    return tuple(f"model.layers.{n}.{name}" for n in numbers for name in inside)


TARGETS = {
    "equal layers": _layers(0, 1, 2),
    "some layers": _layers(3, 1, inside=("mlp.up",)),
    "unequal layers": (*_layers(0), "model.layers.1.mlp.up"),
    "a head besides": (*_layers(0, 1), "lm_head"),
    "two towers with equal numbers": ("a.layers.0.q", "b.layers.0.q"),
    "experts, whose numbers are no layers": _layers(1, inside=("experts.0.up", "experts.3.up")),
}


@pytest.mark.parametrize("modules", TARGETS.values(), ids=TARGETS.keys())
def test_the_config_names_exactly_our_modules_by_their_full_names(modules):
    config = Adapter(_factors(*modules), 2, 4.0).config()
    assert config["target_modules"] == sorted(modules)
    assert "layers_to_transform" not in config


@pytest.mark.parametrize(("alpha", "written"), [(16.0, "16"), (11.313708, "11.313708")])
def test_a_whole_alpha_is_written_as_peft_writes_it(alpha, written):
    config = Adapter(_factors("q"), 2, alpha).config()
    assert json.dumps(config["lora_alpha"]) == written


def test_a_saved_folder_holds_the_canonical_bytes_and_nothing_of_this_machine(tmp_path):
    adapter = Adapter(_factors(*MODULES), 2, 4.0)
    folder = adapter.save(tmp_path / "deep" / "adapter")
    assert (folder / WEIGHTS_FILE).read_bytes() == adapter.to_bytes()
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    for name in ("README.md", "adapter_config.json"):
        assert str(tmp_path) not in (folder / name).read_text()
    keys = safetensors.torch.load_file(folder / WEIGHTS_FILE)
    assert set(keys) == {header.key(m, f) for m in MODULES for f in "AB"}


def test_saving_twice_gives_equal_files(tmp_path):
    adapter = Adapter(_factors(*MODULES), 2, 4.0)
    one, two = (adapter.save(tmp_path / name) for name in "ab")
    for path in one.iterdir():
        digest = hashlib.sha256(path.read_bytes()).digest()
        assert digest == hashlib.sha256((two / path.name).read_bytes()).digest()
