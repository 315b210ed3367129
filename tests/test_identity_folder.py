"""Keys are made once, kept close and read back equal; damage is never papered over."""

import errno
import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from hivelearn import codec
from hivelearn.errors import DeviceError
from hivelearn.identity import (
    CERTIFICATE_VALID_S,
    RENEWED_BEFORE_S,
    Certificate,
    IdentityError,
    make,
    open_in,
    save,
)

NOW = 1_700_000_000
ROOT, DEVICE = bytes(range(32)), bytes(range(32, 64))
ME = make(ROOT, DEVICE, NOW)
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
NOT_ROOT = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere"
)


def test_an_identity_is_made_once_and_reopened_equal(tmp_path):
    folder = tmp_path / "deep" / "identity"
    first = open_in(folder, NOW)
    assert open_in(folder, NOW + 10) == first
    assert open_in(tmp_path / "other", NOW) != first
    assert [path.name for path in folder.parent.iterdir()] == ["identity"]


def test_an_empty_folder_is_not_in_the_way(tmp_path):
    (tmp_path / "identity").mkdir()
    assert open_in(tmp_path / "identity", NOW) == open_in(tmp_path / "identity", NOW)


def test_many_that_start_together_find_one_identity(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: open_in(tmp_path / "identity", NOW), range(8)))
    assert len({one.author for one in found}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["identity"]


@POSIX
def test_files_are_for_their_owner_only_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        open_in(tmp_path / "identity", NOW)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "identity").stat().st_mode) == 0o700
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "identity").iterdir()}
    assert modes == {"root.key": 0o600, "device.key": 0o600, "certificate.cbor": 0o600}


@POSIX
def test_saving_closes_a_folder_that_stood_open(tmp_path):
    folder = tmp_path / "identity"
    folder.mkdir(mode=0o755)
    save(ME, folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_root_key_may_live_elsewhere(tmp_path):
    save(ME, tmp_path)
    (tmp_path / "root.key").unlink()
    assert open_in(tmp_path, NOW) == replace(ME, root_seed=None)
    save(replace(ME, root_seed=None), tmp_path / "second")
    assert not (tmp_path / "second" / "root.key").exists()


def test_a_certificate_in_its_last_year_is_renewed_where_the_root_key_is(tmp_path):
    save(ME, tmp_path)
    late = NOW + CERTIFICATE_VALID_S - RENEWED_BEFORE_S
    assert open_in(tmp_path, late) == ME
    renewed = open_in(tmp_path, late + 1)
    assert renewed.certificate.not_after == late + 1 + CERTIFICATE_VALID_S
    assert renewed.certificate.epoch == ME.certificate.epoch
    assert open_in(tmp_path, late + 2) == renewed


def test_an_expired_certificate_still_opens_without_the_root_key(tmp_path):
    save(replace(ME, root_seed=None), tmp_path)
    assert open_in(tmp_path, NOW + 2 * CERTIFICATE_VALID_S).certificate == ME.certificate


def _write(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def _certificate(*row):
    return _write("certificate.cbor", codec.encode(list(row)))


def _flip(name, at):
    def damage(folder):
        data = bytearray((folder / name).read_bytes())
        data[at] ^= 1
        (folder / name).write_bytes(data)

    return damage


CERT = ME.certificate
ROW = (CERT.root, CERT.device, CERT.not_after, CERT.epoch, CERT.signature)
DAMAGE = {
    "certificate gone": lambda folder: (folder / "certificate.cbor").unlink(),
    "device key gone": lambda folder: (folder / "device.key").unlink(),
    "only the root key left": lambda folder: [
        (folder / name).unlink() for name in ("certificate.cbor", "device.key")
    ],
    "certificate empty": _write("certificate.cbor", b""),
    "certificate is no CBOR": _write("certificate.cbor", b"\xff" * 100),
    "certificate is a map": _write("certificate.cbor", codec.encode({1: 2})),
    "certificate of four fields": _certificate(*ROW[:4]),
    "text in the certificate": _certificate("root", *ROW[1:]),
    "short key in the certificate": _certificate(b"root", *ROW[1:]),
    "negative epoch": _certificate(*ROW[:3], -1, ROW[4]),
    "certificate's root flipped": _flip("certificate.cbor", 5),
    "certificate's device flipped": _flip("certificate.cbor", 40),
    "certificate's signature flipped": _flip("certificate.cbor", -1),
    "device key flipped": _flip("device.key", 0),
    "device key cut": _write("device.key", DEVICE[:31]),
    "device key empty": _write("device.key", b""),
    "device key of another": _write("device.key", bytes(32)),
    "root key flipped": _flip("root.key", 31),
    "root key cut": _write("root.key", ROOT[:31]),
    "root key of another": _write("root.key", bytes(32)),
    "a folder as device key": lambda folder: [
        (folder / "device.key").unlink(),
        (folder / "device.key").mkdir(),
    ],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_said_with_a_remedy_and_nothing_is_overwritten(tmp_path, damage):
    save(ME, tmp_path)
    damage(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    with pytest.raises(IdentityError) as caught:
        open_in(tmp_path, NOW)
    assert isinstance(caught.value, DeviceError)
    assert "backup" in caught.value.remedy
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(IdentityError, match="no keys could be made") as caught:
        open_in(tmp_path, NOW)
    assert "home" in caught.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path):
    (tmp_path / "identity").write_text("a file")
    with pytest.raises(IdentityError):
        open_in(tmp_path / "identity", NOW)
    with pytest.raises(IdentityError):
        open_in(tmp_path / "identity" / "below", NOW)
    assert (tmp_path / "identity").read_text() == "a file"


@POSIX
@NOT_ROOT
def test_a_read_only_home_is_said_and_an_old_identity_opens_there(tmp_path):
    save(ME, tmp_path / "old")
    for folder in (tmp_path / "old", tmp_path):
        folder.chmod(0o500)
    try:
        with pytest.raises(IdentityError, match="no keys could be made"):
            open_in(tmp_path / "identity", NOW)
        late = NOW + CERTIFICATE_VALID_S
        assert open_in(tmp_path / "old", late).certificate.not_after > late
    finally:
        for folder in (tmp_path, tmp_path / "old"):
            folder.chmod(0o700)


def test_a_renewal_that_cannot_be_written_still_opens(tmp_path, monkeypatch):
    def full(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    save(ME, tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    late = NOW + CERTIFICATE_VALID_S
    assert open_in(tmp_path, late).certificate.not_after > late


def test_the_known_answer_stays(tmp_path):
    """The formats are forever: these bytes were written by version 1."""
    assert ME.certificate.message().startswith(b"hivelearn/cert/1\0\x83\x58\x20")
    save(ME, tmp_path)
    assert codec.decode((tmp_path / "certificate.cbor").read_bytes()) == list(ROW)
    assert Certificate(*ROW) == ME.certificate


def test_a_damaged_certificate_is_told_with_the_owners_remedy_alone(tmp_path):
    save(ME, tmp_path)
    (tmp_path / "certificate.cbor").write_bytes(b"\xff" * 100)
    with pytest.raises(IdentityError) as caught:
        open_in(tmp_path, NOW)
    what, todo = str(caught.value).split("\n")
    assert "cannot be used" in what
    assert todo == f"→ {IdentityError.remedy}"
