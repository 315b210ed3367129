"""The base's weight files: judged by their header before a byte is copied, and while it is."""

import io
import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files import checkpoint


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(4, 6), "b": torch.ones(3), "c": torch.ones(2, dtype=int)}, path)
    return path


def retold(path, change):
    """Write the file anew with a changed table, its tensors as they were."""
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    table = json.loads(raw[8:end])
    change(table)
    head = json.dumps(table).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + raw[end:])


def moved(by):
    def change(table):
        table["b"]["data_offsets"] = [at + by for at in table["b"]["data_offsets"]]

    return change


LIES = {
    "a gap between tensors": moved(4),
    "two tensors overlap": moved(-4),
    "a shape of other bytes": lambda table: table["a"].update(shape=[4, 7]),
    "an end before its start": lambda table: table["a"].update(data_offsets=[0, -96]),
    "an end that is a fraction": lambda table: table["c"].update(data_offsets=[108, 124.0]),
    "a shape of fractions": lambda table: table["a"].update(shape=[4.0, 6.0]),
    "a shape of truths": lambda table: table["b"].update(shape=[True, 3]),
    "a shape of words": lambda table: table["a"].update(shape=["four"]),
    "no offsets": lambda table: table["b"].pop("data_offsets"),
    "one tensor is left out": lambda table: table.pop("c"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_header_that_lies_is_refused_before_anything_is_copied(file, lie):
    retold(file, lie)
    out = io.BytesIO()
    with pytest.raises(MergeError, match=r"model\.safetensors is damaged"):
        checkpoint.copy_weights(file, out, {}, lambda *_: None)
    assert out.getvalue() == b""


def test_what_is_not_changed_is_copied_byte_for_byte(file):
    out = io.BytesIO()
    checkpoint.copy_weights(file, out, {}, lambda *_: None)
    assert out.getvalue() == file.read_bytes()


def test_a_file_that_is_cut_while_it_is_copied_is_told(file):
    def cut(module, weight):
        with file.open("r+b") as theirs:
            theirs.truncate(200)

    big = {"a": torch.ones(4, 6), "z": torch.ones(1 << 16)}  # z lies beyond what is read ahead
    save_file(big, file)
    with pytest.raises(MergeError, match="ends before its last tensor"):
        checkpoint.copy_weights(file, io.BytesIO(), {"a": ("a", False)}, cut)


def test_a_file_that_cannot_be_opened_is_told_with_the_systems_word(tmp_path):
    for read in (checkpoint.header, lambda file: checkpoint.copy_whole(file, io.BytesIO())):
        with pytest.raises(MergeError, match=r"gone cannot be read|gone of the base cannot be"):
            read(tmp_path / "gone")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that opens and does not read")
def test_a_disk_that_fails_while_reading_is_told(tmp_path):
    file = tmp_path / "model.safetensors"
    file.symlink_to("/proc/self/mem")  # address 0 is nobody's: EIO
    with pytest.raises(MergeError, match="cannot be read: Input/output error"):
        checkpoint.header(file)
    with (
        pytest.raises(MergeError, match="cannot be read: Input/output error"),
        file.open("rb") as f,
    ):
        list(checkpoint.read_blocks(f, 8, file))
