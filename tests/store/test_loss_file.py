"""A cache on disk: bounded, private, and never wrong, whatever happened to its file."""

import math
import os
import stat

import pytest

from hivelearn.store.loss_file import DIGEST_BYTES, LossFile


def losses(n, start=0):
    return {i.to_bytes(DIGEST_BYTES, "big"): i / 7 for i in range(start, start + n)}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "measured.bin"


def test_what_is_added_is_read_by_another_process(file):
    LossFile(file).add(losses(3))
    LossFile(file).add(losses(2, 3))
    assert LossFile(file).read() == losses(5)
    nothing = {bytes(DIGEST_BYTES): math.nan}
    LossFile(file).add(nothing)
    assert math.isnan(LossFile(file).read()[bytes(DIGEST_BYTES)])


def test_a_missing_file_is_an_empty_cache(file):
    assert LossFile(file).read() == {}
    LossFile(file.parent / "nowhere" / "measured.bin").add(losses(1))  # measured again another time


@pytest.mark.parametrize("at", [0, 30, 41, 79, 119])
def test_a_damaged_record_is_dropped_with_all_after_it(file, at):
    LossFile(file).add(losses(3))
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    whole = losses(at // (len(data) // 3))
    assert LossFile(file).read() == whole
    LossFile(file).add(losses(1, 9))  # and what comes later is whole again
    assert LossFile(file).read() == whole | losses(1, 9)


@pytest.mark.parametrize("length", [0, 1, 39, 41, 100])
def test_a_write_that_was_cut_costs_what_it_wrote(file, length):
    LossFile(file).add(losses(3))
    os.truncate(file, length)
    whole = losses(length // 40)
    assert LossFile(file).read() == whole
    LossFile(file).add(losses(1, 9))
    assert LossFile(file).read() == whole | losses(1, 9)


def test_it_is_bounded_and_the_oldest_go(file):
    store = LossFile(file, kept=10)
    store.add(losses(11))
    assert store.read() == losses(5, 6)
    assert file.stat().st_size == 5 * 40


@pytest.mark.skipif(os.name == "nt", reason="mode bits mean nothing there")
def test_nobody_else_reads_it(file):
    LossFile(file, kept=10).add(losses(1))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    LossFile(file, kept=10).add(losses(11))
    LossFile(file, kept=10).read()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_it_can_be_cleared(file):
    LossFile(file).add(losses(1))
    LossFile(file).clear()
    assert LossFile(file).read() == {}
    LossFile(file).clear()
