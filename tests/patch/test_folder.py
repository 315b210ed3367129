"""What cannot be written is told as the fault of whose it is."""

import errno

import pytest
import torch

from hivelearn.errors import DeviceError
from hivelearn.patch.adapter import CONFIG_FILE, Adapter
from hivelearn.patch.folder import FolderError, written

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


def test_a_disk_that_refuses_is_this_machines_fault(tmp_path):
    with pytest.raises(DeviceError, match="No space left") as caught, written(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "Free disk space" in caught.value.remedy
