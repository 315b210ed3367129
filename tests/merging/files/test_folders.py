"""Folders in, a folder out: what PEFT loads, written module by module, whole or not at all."""

import errno
import json
import os
import shutil

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from hivelearn.errors import HivelearnError
from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.sink import FolderSink
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.schedule import ByName, Gradient
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.peft_config import CONFIG_FILE, WEIGHTS_FILE
from hivelearn.testing.models import small_model

Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("base") / "llama", "llama")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, base):
    """Return three PEFT folders of a small Llama, as PEFT itself saves them."""
    places = []
    for seed, rank in ((1, 2), (2, 3), (3, 4)):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(base)
        config = peft.LoraConfig(
            r=rank, lora_alpha=2 * rank, target_modules="all-linear", init_lora_weights=False,
            use_rslora=seed == 2, task_type="CAUSAL_LM",
        )  # fmt: skip
        place = tmp_path_factory.mktemp("adapter") / str(seed)
        peft.get_peft_model(model, config).save_pretrained(place)
        places.append(place)
    return places


def same(one, other, tol=1e-5):
    assert set(one.factors) == set(other.factors)
    for module in one.factors:
        torch.testing.assert_close(one.delta(module), other.delta(module), atol=tol, rtol=tol)


def test_folders_merge_as_the_adapters_they_hold(folders, tmp_path):
    loaded = [Adapter.load(folder) for folder in folders]
    same(merge(folders, rank="stack"), merge(loaded, rank="stack"))
    same(merge(folders, rank="stack", out=tmp_path / "out"), merge(loaded, rank="stack"))


def test_peft_loads_what_was_written_and_computes_the_mean_of_the_deltas(folders, base, tmp_path):
    merge(folders, rank="stack", weights=[1, 2, 1], out=tmp_path / "out")
    tokens = torch.arange(1, 9)[None]
    model = AutoModelForCausalLM.from_pretrained(base)
    merged = peft.PeftModel.from_pretrained(model, tmp_path / "out")
    with torch.no_grad():
        found = merged(tokens).logits
    dense = {}
    for place, weight in zip(folders, (0.25, 0.5, 0.25), strict=True):
        adapter = Adapter.load(place)
        for module in adapter.factors:
            dense[module] = dense.get(module, 0) + weight * adapter.delta(module)
    plain = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        for name, delta in dense.items():
            plain.get_submodule(name).weight += delta
        expected = plain(tokens).logits
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


def test_an_open_peft_model_is_a_source(folders, base):
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folders[0])
    same(merge([model, folders[1]], rank="stack"), merge(folders[:2], rank="stack"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_result_is_of_the_wanted_type_in_memory_and_on_disk(folders, tmp_path, dtype):
    held = merge(folders, dtype=dtype)
    written = merge(folders, dtype=dtype, out=tmp_path / "out")
    assert held.dtype == written.dtype == {"float32": "F32", "bfloat16": "BF16"}.get(dtype, "F16")
    assert held.to_bytes() == written.to_bytes()
    assert (tmp_path / "out" / "adapter_model.safetensors").read_bytes() == held.to_bytes()


def test_an_energy_chooses_one_rank_for_the_file(folders, tmp_path):
    _, report = merge(folders, energy=0.7, out=tmp_path / "out", report=True)
    assert 1 <= report.rank < 9
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["r"] == report.rank
    assert report.error <= (1 - 0.7) ** 0.5 + 1e-6


def test_a_merge_that_breaks_off_leaves_what_was_there(folders, tmp_path):
    merge(folders[:1], out=tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    whole = Adapter.load(folders[0])
    last = max(whole.factors)  # all others are merged and written by then
    broken = {**whole.factors, last: tuple(x * torch.nan for x in whole.factors[last])}
    with pytest.raises(MergeError, match=f"NaN or infinity in A of {last}"):
        merge([*folders, Adapter(broken, whole.rank, whole.alpha)], out=tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_place_that_cannot_be_written_is_refused(folders, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MergeError, match="cannot be written"):
        merge(folders, out=tmp_path / "file")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("energy", [None, 0.7])
def test_a_full_disk_leaves_the_adapter_that_was_there(folders, tmp_path, monkeypatch, energy):
    out = tmp_path / "out"
    merge(folders[:1], out=out)
    before = contents(out)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HivelearnError, match="No space left"):
        merge(folders, energy=energy, out=out)
    assert contents(out) == before


@pytest.mark.parametrize("energy", [None, 0.7])
def test_a_source_is_never_replaced_by_the_result(folders, tmp_path, energy):
    link = tmp_path / "link"
    link.symlink_to(folders[0])
    before = contents(folders[0])
    for out in (folders[0], link, folders[0] / "."):
        with pytest.raises(MergeError, match="the folder of source 0"):
            merge(folders, energy=energy, out=out)
    assert contents(folders[0]) == before


@pytest.mark.parametrize("energy", [None, 0.7])
def test_a_file_that_the_cache_holds_is_not_written_through_its_link(folders, tmp_path, energy):
    blob, out = tmp_path / "blob", shutil.copytree(folders[2], tmp_path / "out")
    (out / WEIGHTS_FILE).rename(blob)  # as the Hugging Face cache keeps it
    (out / WEIGHTS_FILE).symlink_to(blob)
    cached = blob.read_bytes()
    merge(folders, energy=energy, out=out)
    assert blob.read_bytes() == cached


def test_a_model_is_not_changed_by_an_adapter_in_its_folder(folders, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MergeError, match="the folder of a model"):
        merge(folders, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["config.json"]


def test_of_two_merges_into_one_folder_at_once_one_stays_whole(tmp_path):
    one, two = ((torch.full((2, 3), x), torch.full((5, 2), x)) for x in (1.0, 2.0))
    sinks = [FolderSink(tmp_path, {"q": (5, 3)}, 2, torch.float32) for _ in (one, two)]
    with sinks[0] as first, sinks[1] as second:
        first.put("q", *one)
        second.put("q", *two)
        found = [first.close(), second.close()]
    assert [float(adapter.factors["q"][0][0, 0]) for adapter in found] == [1.0, 2.0]
    assert set(contents(tmp_path)) == {WEIGHTS_FILE, CONFIG_FILE}


def test_a_result_in_a_folder_knows_its_base(made, tmp_path):
    adapters = [made(n, base=b"b" * 32) for n in (1, 2)]
    assert merge(adapters, out=tmp_path / "out").base == b"b" * 32
    assert merge(adapters, energy=0.9, out=tmp_path / "energy").base == b"b" * 32


@pytest.mark.filterwarnings("ignore:.*no module in common")
def test_what_no_adapter_can_be_is_refused_before_anything_is_written(made, tmp_path):
    many = [{f"layers.{n}.q": (2, 2) for n in at} for at in (range(1_500), range(1_500, 3_000))]
    impossible = [
        ([made(n, 2_049, shapes={"q": (2, 2)}) for n in (1, 2)], "stack", "rank 4098"),
        ([made(1, 1, shapes=shapes) for shapes in many], None, "3000 modules"),
    ]
    for sources, rank, says in impossible:
        for out in (None, tmp_path / "out"):
            with pytest.raises(MergeError, match=says) as caught:
                merge(sources, rank=rank, out=out)
            assert caught.value.remedy != MergeError.remedy
        assert not (tmp_path / "out").exists()


def test_a_number_that_float16_cannot_hold_is_refused_not_written_as_infinity(made, tmp_path):
    large = Adapter({Q: (torch.ones(1, 24), torch.full((20, 1), 1e8))}, 1, 1e4)
    with pytest.raises(MergeError, match="overflows float16"):
        merge([large], dtype="float16", out=tmp_path / "out")
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()


def test_weights_may_differ_by_layer_and_name(made):
    from hivelearn.merging.recipe.schedule import ByName, Gradient

    shapes = {
        f"model.layers.{n}.{name}": (6, 5) for n in range(3) for name in ("q_proj", "up_proj")
    }
    one, two = made(1, shapes=shapes), made(2, shapes=shapes)
    weights = [ByName((("up_proj", 1.0), ("*", Gradient((0.0, 1.0))))), 1.0]
    merged = merge([one, two], method="task_arithmetic", weights=weights, rank="stack")
    for module in shapes:
        layer = int(module.split(".")[2])
        first = 1.0 if "up_proj" in module else layer / 2
        expected = first * one.delta(module) + two.delta(module)
        torch.testing.assert_close(merged.delta(module), expected, atol=1e-4, rtol=1e-4)


def test_a_module_in_which_nobody_has_a_weight_stays_as_it_is(made, tmp_path):
    weights = [ByName((("up_proj", 0.0), ("*", 1.0)))] * 2
    for out in (None, tmp_path / "out"):
        merged = merge([made(1), made(2)], weights=weights, rank="stack", out=out)
        assert not merged.delta(UP).any()
        assert merged.delta(Q).any()


@pytest.mark.parametrize("method", ["ties", "core_ties"])
def test_a_density_goes_with_its_source_also_where_another_has_no_weight(made, method):
    shapes = {f"model.layers.{n}.q_proj": (20, 24) for n in range(2)}
    one, two, three = (made(n, shapes=shapes) for n in (1, 2, 3))
    for absent in range(3):  # whatever the order of their content
        weights, densities = [0.5, 0.5, 0.5], [0.1, 0.9, 0.4]
        weights[absent] = Gradient((0.0, 0.5))
        merged = merge(
            [one, two, three], method=method, weights=weights, density=densities, rank=24
        )
        rest = [n for n in range(3) if n != absent]
        alone = merge(
            [(one, two, three)[n] for n in rest], method=method, weights=[0.5, 0.5],
            density=[densities[n] for n in rest], rank=24,
        )  # fmt: skip
        first = "model.layers.0.q_proj"
        torch.testing.assert_close(merged.delta(first), alone.delta(first), atol=1e-4, rtol=1e-4)


def test_settings_of_whole_adapters_cannot_differ_by_module(made):
    with pytest.raises(MergeError, match="judges whole adapters"):
        merge([made(1), made(2), made(3)], method="robust", weights=[1, 1, Gradient((0, 1))])


def test_the_report_tells_coefficients_cosines_and_norms_in_the_callers_order(made, truth):
    adapters = [made(n) for n in (5, 3, 9)]
    _, report = merge(adapters, weights=(1, 2, 5), rank="stack", report=True)
    assert report.weights == (1.0, 2.0, 5.0)
    assert report.coefficients[Q] == pytest.approx((0.125, 0.25, 0.625))
    flat = torch.stack([torch.cat([a.delta(m).flatten() for m in (UP, Q)]) for a in adapters])
    cosines = torch.nn.functional.cosine_similarity(flat[:, None], flat[None], dim=-1)
    torch.testing.assert_close(torch.tensor(report.cosines), cosines, atol=1e-5, rtol=1e-4)
    norms = [float(adapter.delta(Q).norm()) for adapter in adapters]
    assert report.norms[Q] == pytest.approx(norms, rel=1e-5)
    dense = truth(adapters, [0.125, 0.25, 0.625], Q)
    assert report.merged[Q] == pytest.approx(float(dense.norm()), rel=1e-5)
    assert json.loads(report.to_json())["method"] == "linear"


def test_a_merge_that_is_not_low_rank_says_what_else_to_do(made):
    _, report = merge([made(n) for n in range(4)], "ties", rank=1, report=True)
    assert "core_ties" in str(report)
    assert "core" not in str(merge([made(1)], rank=1, report=True)[1])
