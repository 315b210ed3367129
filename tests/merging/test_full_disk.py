"""A disk that fills up while a folder is written takes nothing away."""

import resource

import pytest

from hivelearn.merging.errors import MergeError
from hivelearn.merging.merge import merge
from hivelearn.patch.adapter import WEIGHTS_FILE


@pytest.fixture
def small_disk():
    """Return what limits the size of any file that is written inside the test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("most", [0, 9_000, 40_000])  # the header, weights, the last of the buffer
def test_a_disk_that_fills_up_leaves_what_was_there(tmp_path, made, small_disk, most):
    shapes = {f"layers.{n}.{'long' * 12}": (40, 40) for n in range(64)}
    adapters, there = [made(n, shapes=shapes) for n in (1, 2)], tmp_path / "out" / WEIGHTS_FILE
    there.parent.mkdir()
    there.write_bytes(b"before")
    small_disk(most)
    with pytest.raises(MergeError, match="out cannot be written: File too large"):
        merge(adapters, out=there.parent)
    assert there.read_bytes() == b"before"
    assert list(there.parent.iterdir()) == [there]
