"""A merge goes into a whole model without loss, or nothing is written."""

import json
import shutil

import pytest
import torch
from torch.nn import Parameter
from transformers import AutoModelForCausalLM

from hivelearn.merging.errors import MergeError
from hivelearn.merging.into_model import merge_into
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.recipe.schedule import ByName
from hivelearn.merging.run.options import MergeOptions
from hivelearn.patch import fingerprint
from hivelearn.patch.adapter import Adapter
from hivelearn.testing.models import small_model

TIES = MergeRecipe("ties", params={"density": 0.5})


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def base(request, tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("base") / request.param, request.param)


def opened(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto")


def adapters_of(folder, count=3):
    """Return random adapters on all linear layers; GPT-2's keep their weight transposed."""
    chance = torch.Generator().manual_seed(1)
    found = []
    for _ in range(count):
        factors = {}
        for name, module in opened(folder).named_modules():
            kind = type(module).__name__
            if kind in ("Linear", "Conv1D") and name != "lm_head":
                weight = module.weight if kind == "Linear" else module.weight.T
                factors[name] = (
                    torch.randn(2, weight.shape[1], generator=chance) * 0.1,
                    torch.randn(weight.shape[0], 2, generator=chance) * 0.1,
                )
        found.append(Adapter(factors, 2, 4.0))
    return found


def full(adapters, recipe):
    """Return the same merge as an adapter of a rank that loses nothing."""
    return merge(adapters, method=recipe.method, rank=64, **recipe.settings)


@pytest.mark.parametrize("method", ["ties", "linear", "robust", "core_ties", "tsv"])
def test_a_written_model_is_the_base_plus_the_merged_deltas(base, tmp_path, method):
    recipe = MergeRecipe(method)
    adapters = adapters_of(base)
    out = merge_into(base, adapters, recipe, MergeOptions(out=tmp_path / "merged"))
    before, after = opened(base), opened(out)
    expected = full(adapters, recipe)
    changed = set()
    for name, module in after.named_modules():
        if name in expected.factors:
            delta = expected.delta(name)
            delta = delta.T if type(module).__name__ == "Conv1D" else delta
            weight = before.get_submodule(name).weight + delta
            torch.testing.assert_close(module.weight, weight, atol=2e-4, rtol=1e-3)
            changed.add(f"{name}.weight")
    for name, tensor in after.state_dict().items():
        if name not in changed:
            assert torch.equal(tensor, before.state_dict()[name])


def test_an_open_model_is_changed_in_place_as_a_folder_would_be(base, tmp_path):
    adapters = adapters_of(base)
    out = merge_into(base, adapters, TIES, MergeOptions(out=tmp_path / "merged"))
    model = opened(base)
    assert merge_into(model, adapters, TIES) is model
    for name, tensor in opened(out).state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_everything_else_of_the_model_comes_along(base, tmp_path):
    out = merge_into(base, adapters_of(base), TIES, MergeOptions(out=tmp_path / "merged"))
    assert {p.name for p in out.iterdir()} == {p.name for p in base.iterdir() if p.is_file()}
    for name in ("config.json", "tokenizer.json"):
        assert (out / name).read_bytes() == (base / name).read_bytes()


def test_a_sharded_checkpoint_stays_sharded(base, tmp_path):
    sharded = tmp_path / "sharded"
    opened(base).save_pretrained(sharded, max_shard_size="40KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    adapters = adapters_of(base)
    one = merge_into(base, adapters, TIES, MergeOptions(out=tmp_path / "one"))
    many = merge_into(sharded, adapters, TIES, MergeOptions(out=tmp_path / "many"))
    assert len(list(many.glob("*.safetensors"))) == len(list(sharded.glob("*.safetensors")))
    for name, tensor in opened(one).state_dict().items():
        assert torch.equal(tensor, opened(many).state_dict()[name])


def test_a_bfloat16_checkpoint_stays_bfloat16_and_is_rounded_once(base, tmp_path):
    half = tmp_path / "half"
    opened(base).to(torch.bfloat16).save_pretrained(half)
    adapters = adapters_of(base)
    out = merge_into(half, adapters, MergeRecipe(), MergeOptions(out=tmp_path / "merged"))
    expected, name = full(adapters, MergeRecipe()), next(iter(adapters[0].factors))
    module = opened(out).get_submodule(name)
    weight = opened(half).get_submodule(name).weight.float()
    delta = expected.delta(name)
    delta = delta.T if type(module).__name__ == "Conv1D" else delta
    assert module.weight.dtype == torch.bfloat16
    exact = (weight + delta).to(torch.bfloat16)
    assert (module.weight == exact).float().mean() > 0.99  # the product may round the other way


REFUSED = {
    "another model": (lambda a, _: Adapter({"model.layers.9.q_proj": (torch.ones(1, 4),) * 1
                      + (torch.ones(4, 1),)}, 1, 1.0), "no weight for"),
    "another shape": (lambda a, _: Adapter({next(iter(a.factors)): (torch.ones(1, 7),
                      torch.ones(5, 1))}, 1, 1.0), "5 x 7 in the adapters"),
    "another base": (lambda a, _: Adapter(a.factors, a.rank, a.alpha, b"x" * 32), "another model"),
}  # fmt: skip


@pytest.mark.parametrize(("made", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_belong_to_the_model_is_refused_and_nothing_is_left(
    base, tmp_path, made, says
):
    adapter = made(adapters_of(base, 1)[0], base)
    with pytest.raises(MergeError, match=says):
        merge_into(base, [adapter], MergeRecipe(), MergeOptions(out=tmp_path / "merged"))
    assert not (tmp_path / "merged").exists()
    if adapter.base is None:
        model = opened(base)
        with pytest.raises(MergeError, match=says):
            merge_into(model, [adapter], MergeRecipe())


def test_adapters_that_name_their_base_go_into_that_base(base, tmp_path):
    adapter = adapters_of(base, 1)[0]
    known = Adapter(adapter.factors, adapter.rank, adapter.alpha, fingerprint.of_folder(base))
    assert merge_into(base, [known], MergeRecipe(), MergeOptions(out=tmp_path / "merged")).exists()


def test_a_folder_with_something_in_it_is_not_overwritten(base, tmp_path):
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "letter.txt").write_text("dear")
    with pytest.raises(MergeError, match="not empty"):
        merge_into(base, adapters_of(base, 1), MergeRecipe(), MergeOptions(out=tmp_path / "merged"))
    assert (tmp_path / "merged" / "letter.txt").read_text() == "dear"
    with pytest.raises(MergeError, match="nowhere to write"):
        merge_into(base, adapters_of(base, 1), MergeRecipe())


def test_a_checkpoint_that_is_cut_is_refused_and_nothing_is_left(base, tmp_path):
    cut = tmp_path / "cut"
    shutil.copytree(base, cut)
    file = cut / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(MergeError, match=r"cut/model.safetensors is damaged"):
        merge_into(cut, adapters_of(base, 1), MergeRecipe(), MergeOptions(out=tmp_path / "merged"))
    assert not (tmp_path / "merged").exists()


def test_a_file_that_is_no_checkpoint_is_refused(base, tmp_path):
    odd = tmp_path / "odd"
    shutil.copytree(base, odd)
    (odd / "model.safetensors").write_bytes(b'\x08\0\0\0\0\0\0\0{"a": 1')
    with pytest.raises(MergeError, match="damaged"):
        merge_into(odd, adapters_of(base, 1), MergeRecipe(), MergeOptions(out=tmp_path / "merged"))


def test_a_quantised_weight_is_refused(base, tmp_path):
    eight = tmp_path / "eight"
    shutil.copytree(base, eight)
    file = eight / "model.safetensors"
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    table = json.loads(raw[8 : 8 + size])
    for row in table.values():
        if row.get("dtype") == "F32":
            row["dtype"] = "I32"
    head = json.dumps(table, separators=(",", ":")).encode().ljust(size)
    file.write_bytes(raw[:8] + head[:size] + raw[8 + size :])
    with pytest.raises(MergeError, match="quantised"):
        merge_into(
            eight, adapters_of(base, 1), MergeRecipe(), MergeOptions(out=tmp_path / "merged")
        )


def last_of(adapter, change):
    """Return the adapter with one factor pair changed: that of its last module."""
    name = max(adapter.factors)
    return Adapter({**adapter.factors, name: change(*adapter.factors[name])}, 2, 4.0)


def cancelling(name):
    weights = (1.0, ByName(((name, -1.0), ("*", 1.0))))
    return MergeRecipe("linear", weights, allow_negative=True)


LATE = {
    "NaN": (lambda a, b: (a, b * float("nan")), lambda _: MergeRecipe("linear"), "NaN or inf"),
    "NaN in ties": (lambda a, b: (a * float("nan"), b), lambda _: TIES, "NaN or inf"),
    "a wrong shape": (lambda a, b: (a, torch.cat([b, b])), lambda _: TIES, "in the model"),
    "weights that cancel": (lambda a, b: (a, b), cancelling, "cancel"),
}


@pytest.mark.parametrize(("change", "recipe", "says"), LATE.values(), ids=LATE.keys())
def test_what_is_wrong_in_the_last_module_leaves_an_open_model_as_it_was(
    base, change, recipe, says
):
    wrong = [last_of(adapter, change) for adapter in adapters_of(base, 2)]
    model = opened(base)
    with pytest.raises(MergeError, match=says):
        merge_into(model, wrong, recipe(max(wrong[0].factors)))
    for name, tensor in opened(base).state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_one_source_that_names_another_base_is_enough_to_refuse(base, tmp_path):
    one, two = adapters_of(base, 2)
    foreign = Adapter(one.factors, one.rank, one.alpha, b"x" * 32)
    with pytest.raises(MergeError, match="another model"):
        merge_into(base, [foreign, two], MergeRecipe(), MergeOptions(out=tmp_path / "merged"))
    assert not (tmp_path / "merged").exists()


def retyped(dtype):
    def change(model, name):
        model.get_submodule(name).weight = Parameter(
            model.get_submodule(name).weight.to(dtype), requires_grad=False
        )

    return change


def tied(model, name):
    model.get_submodule(name).weight = model.get_submodule(name.replace("0", "1", 1)).weight


OPEN = {
    "float8": (retyped(torch.float8_e4m3fn), "quantised"),
    "int8": (retyped(torch.int8), "quantised"),
    "not loaded": (lambda model, name: model.get_submodule(name).to("meta"), "not loaded"),
    "tied": (tied, "shares its weight with"),
}


@pytest.mark.parametrize(("change", "says"), OPEN.values(), ids=OPEN.keys())
def test_a_weight_that_cannot_be_added_to_is_refused_by_name(base, change, says):
    adapter, model = adapters_of(base, 1)[0], opened(base)
    name = next(iter(adapter.factors))
    change(model, name)
    with pytest.raises(MergeError, match=says) as caught:
        merge_into(model, [adapter], MergeRecipe())
    assert name in caught.value.what


def test_a_head_tied_to_the_embedding_is_refused(tmp_path):
    folder = small_model(tmp_path / "base", "qwen3")
    d_out, d_in = opened(folder).lm_head.weight.shape
    head = Adapter({"lm_head": (torch.ones(1, d_in), torch.ones(d_out, 1))}, 1, 1.0)
    for base in (folder, opened(folder)):
        with pytest.raises(MergeError, match=r"lm_head shares its weight with model.embed_tokens"):
            merge_into(base, [head], MergeRecipe(), MergeOptions(out=tmp_path / "merged"))


def test_float64_loses_nothing(base):
    adapter, model = adapters_of(base, 1)[0], opened(base).double()
    name = next(iter(adapter.factors))
    still = Adapter({n: (a, b * 0) for n, (a, b) in adapter.factors.items()}, 2, 4.0)
    model.get_submodule(name).weight.data.add_(1e-12)
    before = model.get_submodule(name).weight.clone()
    merge_into(model, [still], MergeRecipe())
    assert torch.equal(model.get_submodule(name).weight, before)
