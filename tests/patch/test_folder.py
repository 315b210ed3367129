"""What cannot be written is told as the fault of whose it is."""

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from hivelearn.errors import DeviceError
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.errors import AdapterError
from hivelearn.patch.folder import FolderError, written
from hivelearn.patch.peft_config import CONFIG_FILE, WEIGHTS_FILE

ADAPTER = Adapter({"q": (torch.ones(2, 3), torch.ones(5, 2))}, 2, 4.0)


def test_an_adapter_is_not_saved_over_a_file_below_one_or_over_a_folder(tmp_path):
    taken, below = tmp_path / "taken", tmp_path / "taken" / "below"
    taken.write_text("mine")
    (tmp_path / "folder" / CONFIG_FILE).mkdir(parents=True)
    for path in (taken, below, tmp_path / "folder"):
        with pytest.raises(FolderError, match=r"is a file, or holds") as caught:
            ADAPTER.save(path)
        assert caught.value.remedy
    assert taken.read_text() == "mine"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == [CONFIG_FILE]


def test_a_disk_that_refuses_is_this_machines_fault(tmp_path):
    with pytest.raises(DeviceError, match="No space left") as caught, written(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "Free disk space" in caught.value.remedy


def refused(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_adapter_stays_as_it_was_when_the_disk_is_full(tmp_path, monkeypatch):
    ADAPTER.save(tmp_path)
    before = contents(tmp_path)
    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(DeviceError, match="No space left"):
        Adapter({"k": (torch.ones(1, 3), torch.ones(5, 1))}, 1, 4.0).save(tmp_path)
    assert contents(tmp_path) == before


def test_a_link_is_replaced_and_what_it_leads_to_keeps_its_bytes(tmp_path):
    blob, folder = tmp_path / "blob", tmp_path / "folder"
    blob.write_bytes(b"of the cache")
    folder.mkdir()
    (folder / WEIGHTS_FILE).symlink_to(blob)
    ADAPTER.save(folder)
    assert blob.read_bytes() == b"of the cache"
    assert not (folder / WEIGHTS_FILE).is_symlink()
    assert Adapter.load(folder).to_bytes() == ADAPTER.to_bytes()


def test_a_mapped_file_keeps_its_pages_when_a_smaller_adapter_is_saved_over_it(tmp_path):
    large = Adapter({"q": (torch.ones(2, 9_000), torch.ones(5, 2))}, 2, 4.0)
    large.save(tmp_path)
    mapped = safe_open(tmp_path / WEIGHTS_FILE, framework="pt").__enter__()
    inode = (tmp_path / WEIGHTS_FILE).stat().st_ino
    ADAPTER.save(tmp_path)
    assert (tmp_path / WEIGHTS_FILE).stat().st_ino != inode  # written in place, this is SIGBUS
    assert mapped.get_tensor("base_model.model.q.lora_A.weight").sum() == 18_000


# The same shapes with another scale: half of one and half of the other would load.
OTHER = Adapter({"q": (torch.ones(2, 3), torch.ones(5, 2) * 3)}, 2, 64.0)


@pytest.mark.parametrize("crash_at", range(1, 6))
def test_who_dies_while_saving_leaves_the_old_the_new_or_nothing_that_loads(
    tmp_path, monkeypatch, crash_at
):
    ADAPTER.save(tmp_path)
    renames, real = iter(range(1, 100)), Path.replace

    class PowerCutError(BaseException):
        pass

    def replace(self, target):
        if next(renames) == crash_at:
            raise PowerCutError
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with suppress(PowerCutError):
        OTHER.save(tmp_path)
    monkeypatch.undo()
    if not (tmp_path / CONFIG_FILE).exists():
        with pytest.raises(AdapterError, match=r"holds no adapter_config.json"):
            Adapter.load(tmp_path)
        return
    found = Adapter.load(tmp_path)
    assert any(torch.equal(found.delta("q"), one.delta("q")) for one in (ADAPTER, OTHER))


def test_a_rename_that_is_refused_leaves_the_old_adapter(tmp_path, monkeypatch):
    ADAPTER.save(tmp_path)
    before, real = contents(tmp_path), Path.replace

    def replace(self, target):
        if Path(target).name == WEIGHTS_FILE:
            refused()
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(DeviceError, match="No space left"):
        OTHER.save(tmp_path)
    assert contents(tmp_path) == before
