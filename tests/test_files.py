"""A file is whole or what it was before, and what the disk refuses is this machine's fault."""

import errno
import os
import stat
import sys

import pytest

from hivelearn.errors import DeviceError
from hivelearn.files import (
    DiskError,
    DiskFullError,
    DiskReadOnlyError,
    Replacement,
    disk,
    replace_all,
    write_whole,
)

REFUSALS = {
    errno.ENOSPC: DiskFullError,
    errno.EFBIG: DiskFullError,
    errno.EROFS: DiskReadOnlyError,
    errno.EACCES: DiskReadOnlyError,
    errno.EIO: DiskError,
}


def refused(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("code", "kind"), REFUSALS.items(), ids=errno.errorcode.get)
def test_what_the_disk_refuses_is_an_error_of_the_device_with_its_path(tmp_path, code, kind):
    with pytest.raises(DeviceError, match=os.strerror(code)) as caught, disk(tmp_path):
        raise OSError(code, os.strerror(code))
    assert type(caught.value) is kind
    assert (caught.value.path, caught.value.said) == (tmp_path, os.strerror(code))


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_whole(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(DiskFullError):
        write_whole(tmp_path / "file", b"new")
    assert contents(tmp_path) == {"file": b"old"}


def test_files_that_belong_together_are_replaced_together(tmp_path):
    names = ("one", "two")
    for name in names:
        write_whole(tmp_path / name, b"old")
    with Replacement(tmp_path / "one") as one, Replacement(tmp_path / "two") as two:
        for each in (one, two):
            each.file.write(b"new")
        two.file.close()  # the second one cannot be finished
        with pytest.raises(ValueError, match="closed"):
            replace_all((one, two))
    assert contents(tmp_path) == dict.fromkeys(names, b"old")


@pytest.mark.skipif(sys.platform == "win32", reason="mode bits of POSIX")
def test_a_secret_is_never_readable_by_others_not_even_while_it_is_written(tmp_path):
    seen = []

    def look(_point):
        seen.extend(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir())

    write_whole(tmp_path / "key", b"secret", look, mode=0o600)
    assert seen == [0o600, 0o600]


def test_two_writers_of_one_file_do_not_share_a_temporary_name(tmp_path):
    with Replacement(tmp_path / "file") as one, Replacement(tmp_path / "file") as two:
        for writer, letter in ((one, b"1"), (two, b"2")):
            writer.file.write(letter * 100_000)
        for writer in (one, two):
            writer.finish()
            writer.put_in_place()
    assert contents(tmp_path) == {"file": b"2" * 100_000}


class Refusing:
    close = refused


def test_a_flush_that_fails_leaves_no_temporary_file(tmp_path):
    with Replacement(tmp_path / "file") as part:
        part.file.close()
        part.file = Refusing()
    assert contents(tmp_path) == {}
