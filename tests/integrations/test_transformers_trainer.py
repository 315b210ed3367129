"""A real Trainer run, three steps long, becomes a patch; what cannot is refused at its start."""

import warnings

import pytest
import torch

import hivelearn as hl
from hivelearn.device.reading import Reading, known
from hivelearn.testing.models import small_model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.set_num_threads(1)
    return small_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def node(base, tmp_path):
    with hl.Node(base, home=tmp_path / "home", progress=False) as node:
        yield node


def lora(base, rank=4, seed=0, **settings):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    return get_peft_model(
        model, LoraConfig(r=rank, target_modules=["q_proj", "v_proj"], **settings)
    )


def trainer(model, folder, callback, **settings):
    from transformers import Trainer, TrainingArguments

    tokens = torch.arange(12).repeat(8, 1) + torch.arange(8)[:, None]
    rows = [{"input_ids": row, "labels": row.clone()} for row in tokens]
    arguments = TrainingArguments(
        output_dir=str(folder / "run"),
        max_steps=3,
        per_device_train_batch_size=2,
        learning_rate=0.01,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **settings,
    )
    return Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[callback])


def train(*args, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the host framework, about its own future
        return trainer(*args, **settings).train()


class Ledger:
    """A machine that is hot at given readings, and the rests it led to."""

    def __init__(self, *hot_at, end=False):
        self.now_s, self.readings, self.rests = 0.0, 0, 0
        self.hot_at, self.end = hot_at, end

    def read(self):
        self.readings += 1
        hot = self.readings in self.hot_at
        return Reading(cpu_c=known(90.0 if hot else 40.0), has_battery=known(False))

    def sleep(self, seconds):
        self.rests += 1
        self.now_s += seconds
        return self.end

    def monotonic(self):
        self.now_s += 11.0  # every look is later than a reading is good for
        return self.now_s

    @property
    def governor(self):
        return hl.Governor(read=self.read, sleep=self.sleep, monotonic=self.monotonic)


def test_a_run_becomes_a_signed_patch_with_what_was_learnt(base, node, tmp_path):
    model = lora(base)
    callback = hl.SwarmCallback(node, "roman")
    assert train(model, tmp_path, callback).global_step == 3
    learnt = hl.Adapter.from_model(model)
    assert callback.patch.domain == "roman"
    assert callback.patch.adapter.to_bytes() == learnt.to_bytes()
    assert any(b.abs().sum() > 0 for _, b in learnt.factors.values())
    assert node.status().shelf == {"own": 1}


def test_heat_makes_the_trainer_wait_and_changes_nothing_else(base, node, tmp_path):
    cool, hot = Ledger(), Ledger(2, 3, 5)
    patches = []
    for environment in (cool, hot):
        callback = hl.SwarmCallback(node, "roman", governor=environment.governor)
        train(lora(base), tmp_path, callback)
        patches.append(callback.patch.adapter.to_bytes())
    assert (cool.rests, hot.rests) == (0, 3)
    assert patches[0] == patches[1]


def test_every_pass_of_an_accumulated_step_waits_for_its_permit(base, node, tmp_path):
    environment = Ledger()
    callback = hl.SwarmCallback(node, "roman", governor=environment.governor)
    train(lora(base), tmp_path, callback, gradient_accumulation_steps=2)
    assert environment.readings == 6  # three steps of two passes


def test_a_governor_told_to_end_ends_the_training_and_keeps_what_is_learnt(base, node, tmp_path):
    environment = Ledger(2, end=True)
    callback = hl.SwarmCallback(node, "roman", governor=environment.governor)
    assert train(lora(base), tmp_path, callback).global_step == 2  # the step in hand is finished
    assert callback.patch is not None


def test_a_patch_is_published_where_its_domain_is_joined(base, node, tmp_path):
    with node.join("roman", fabric="memory") as swarm:
        callback = hl.SwarmCallback(node, "roman", publish_to=swarm)
        train(lora(base), tmp_path, callback)
        with pytest.raises(hl.UsageError, match="has not joined 'clock12'"):
            hl.SwarmCallback(node, "clock12", publish_to=swarm)
    assert callback.patch.domain == "roman"


def test_a_model_that_cannot_be_sealed_is_refused_before_the_first_step(base, node, tmp_path):
    from transformers import AutoModelForCausalLM

    environment = Ledger()
    callback = hl.SwarmCallback(node, "roman", governor=environment.governor)
    with pytest.raises(hl.UsageError):
        train(AutoModelForCausalLM.from_pretrained(base), tmp_path, callback)
    other = small_model(tmp_path / "wider", width=64)
    with pytest.raises(hl.HivelearnError):
        train(lora(other), tmp_path, callback)
    assert environment.readings == 0
    assert callback.patch is None


def _mixed(model):
    for name, parameter in model.named_parameters():
        if ".0." in name and "lora_" in name:
            parameter.data = parameter.data.to(torch.bfloat16)
    return model


def _scattered(model):
    """What DeepSpeed ZeRO-3 leaves in a process between two steps."""
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.empty(0)
    return model


BEYOND = {
    "a rank that no patch has": (lambda base: lora(base, rank=128), "rank 128", "r=64"),
    "an alpha beyond all bounds": (lambda base: lora(base, lora_alpha=100_000), "alpha", "alpha"),
    "two types": (lambda base: _mixed(lora(base)), r"bfloat16 \(as in model.layers.0", "Cast"),
    "factors that are elsewhere": (lambda base: _scattered(lora(base)), "no numbers", "ZeRO-3"),
    "DoRA": (lambda base: lora(base, use_dora=True), "use_dora", "plain LoRA"),
}


@pytest.mark.parametrize(("make", "says", "remedy"), BEYOND.values(), ids=BEYOND)
def test_every_limit_is_known_before_the_first_step(base, node, tmp_path, make, says, remedy):
    environment = Ledger()
    callback = hl.SwarmCallback(node, "roman", governor=environment.governor)
    with pytest.raises(hl.UsageError, match=says) as caught:
        train(make(base), tmp_path, callback)
    assert remedy in caught.value.remedy
    assert environment.readings == 0


def _compiled_layers(model):
    layers = model.base_model.model.model.layers
    for place, layer in enumerate(layers):
        layers[place] = torch.compile(layer, backend="eager")
    return model


COMPILED = {
    "by the Trainer": (
        lambda model: model,
        {"torch_compile": True, "torch_compile_backend": "eager"},
    ),
    "by its owner": (lambda model: torch.compile(model, backend="eager"), {}),
    "layer by layer": (_compiled_layers, {}),
}


@pytest.mark.parametrize(("compiled", "settings"), COMPILED.values(), ids=COMPILED)
def test_a_compiled_run_is_sealed_as_an_uncompiled_one(base, node, tmp_path, compiled, settings):
    callback = hl.SwarmCallback(node, "roman", governor=Ledger().governor)
    train(compiled(lora(base)), tmp_path, callback, **settings)
    assert sorted(callback.patch.adapter.factors) == sorted(
        hl.Adapter.from_model(lora(base)).factors
    )


def test_of_many_processes_only_the_first_seals(base, node):
    from types import SimpleNamespace

    callback = hl.SwarmCallback(node, "roman")
    other = SimpleNamespace(is_world_process_zero=False)
    callback.on_train_end(None, other, None, model=lora(base))
    assert callback.patch is None


def test_an_adapter_that_changes_nothing_is_not_sealed(base, node):
    with pytest.raises(hl.UsageError, match="changes nothing") as caught:
        node.seal(hl.Adapter.from_model(lora(base)), domain="roman")
    assert "missing keys" in caught.value.remedy


def test_a_domain_that_is_no_name_is_refused_at_once(node):
    with pytest.raises(hl.UsageError):
        hl.SwarmCallback(node, "Roman numerals!")
