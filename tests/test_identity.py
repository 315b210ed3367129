"""Keys are made once, kept close, read back equal, and damage is never papered over."""

import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn import codec, identity
from hivelearn.errors import DeviceError, PeerError, UsageError
from hivelearn.identity import (
    CERTIFICATE_VALID_S,
    EPOCH_MAX,
    RENEWED_BEFORE_S,
    Certificate,
    IdentityError,
    MistypedNameError,
    full_name,
    make,
    open_in,
    parse_name,
    save,
    short_name,
    verify,
)

NOW = 1_700_000_000
ROOT, DEVICE = bytes(range(32)), bytes(range(32, 64))
ME = make(ROOT, DEVICE, NOW)
L = 2**252 + 27742317777372353535851937790883648493  # order of the Ed25519 base point
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
NOT_ROOT = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere"
)


# --- signatures -------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_a_signature_holds_for_its_message_and_device(message):
    assert verify(ME.device, message, ME.sign(message))
    assert not verify(ME.author, message, ME.sign(message))
    assert not verify(ME.device, message + b"\0", ME.sign(message))


@given(st.integers(0, 64 * 8 - 1))
def test_no_bit_of_a_signature_can_be_flipped(bit):
    signature = bytearray(ME.sign(b"message"))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verify(ME.device, b"message", bytes(signature))


def test_a_signature_has_one_form():
    """S + L signs the same in a lax verifier: a second id for one record."""
    signature = ME.sign(b"message")
    s = int.from_bytes(signature[32:], "little")
    assert not verify(ME.device, b"message", signature[:32] + (s + L).to_bytes(32, "little"))


# The points of small order on edwards25519, as in libsodium's own black list: under such
# a key one signature holds for many messages.
SMALL_ORDER = {
    "0": bytes(32),
    "1": b"\1" + bytes(31),
    "order 8": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    "order 8 too": bytes.fromhex(
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
    ),
    "p-1": b"\xec" + b"\xff" * 30 + b"\x7f",
    "p": b"\xed" + b"\xff" * 30 + b"\x7f",
    "p+1": b"\xee" + b"\xff" * 30 + b"\x7f",
}


@pytest.mark.parametrize("key", SMALL_ORDER.values(), ids=SMALL_ORDER.keys())
def test_a_key_of_small_order_signs_nothing(key):
    for point in SMALL_ORDER.values():
        for message in (b"a", b"b", b"c", b"d"):
            assert not verify(key, message, point + bytes(32))


@pytest.mark.parametrize(
    ("key", "signature"),
    [
        (b"", bytes(64)),
        (bytes(31), bytes(64)),
        (bytes(33), bytes(64)),
        (ME.device, b""),
        (ME.device, bytes(63)),
        (ME.device, bytes(65)),
    ],
)
def test_keys_and_signatures_of_other_sizes_verify_nothing(key, signature):
    assert not verify(key, b"message", signature)


# --- certificates -----------------------------------------------------------------------


def test_a_certificate_holds_until_its_last_second_and_its_end_is_nobody_s_fault():
    ME.certificate.check(NOW + CERTIFICATE_VALID_S)
    with pytest.raises(PeerError) as caught:
        ME.certificate.check(NOW + CERTIFICATE_VALID_S + 1)
    assert (caught.value.code, caught.value.fault) == ("cert.expired", "nobody")


STRANGER = make(bytes(32), bytes([7]) * 32, NOW)
FORGED = {
    "another device": {"device": STRANGER.device},
    "another root": {"root": STRANGER.author},
    "longer life": {"not_after": ME.certificate.not_after + 1},
    "another epoch": {"epoch": 1},
    "true as epoch": {"epoch": True},
    "another's signature": {"signature": STRANGER.certificate.signature},
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED.keys())
def test_every_field_of_a_certificate_is_signed(change):
    with pytest.raises(PeerError) as caught:
        replace(ME.certificate, **change).check(NOW)
    assert (caught.value.code, caught.value.fault) == ("cert.sig", "relay")


MALFORMED = {
    "short root": {"root": bytes(31)},
    "long device": {"device": bytes(33)},
    "short signature": {"signature": bytes(63)},
    "negative epoch": {"epoch": -1},
    "epoch beyond 32 bits": {"epoch": EPOCH_MAX + 1},
    "negative expiry": {"not_after": -1},
    "expiry beyond 63 bits": {"not_after": 2**63},
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED.keys())
def test_no_malformed_certificate_exists(change):
    with pytest.raises(PeerError) as caught:
        replace(ME.certificate, **change)
    assert caught.value.code == "cert.form"


def test_the_next_epoch_keeps_the_keys_and_is_certified_anew():
    later = ME.with_next_epoch(NOW + 5)
    assert (later.author, later.device) == (ME.author, ME.device)
    assert later.certificate.epoch == ME.certificate.epoch + 1
    later.certificate.check(NOW + 5)


def test_the_next_epoch_needs_the_root_key():
    with pytest.raises(UsageError, match="root key"):
        replace(ME, root_seed=None).with_next_epoch(NOW)


def test_equal_seeds_make_equal_identities():
    assert make(ROOT, DEVICE, NOW) == ME


# --- on disk ----------------------------------------------------------------------------


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


def test_a_renewal_that_cannot_be_written_still_opens(tmp_path):
    save(ME, tmp_path)
    (tmp_path / "root.tmp").mkdir()  # where the next file would be written first
    late = NOW + CERTIFICATE_VALID_S
    assert open_in(tmp_path, late).certificate.not_after > late


# --- names ------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32))
def test_a_full_name_is_read_back_also_in_capitals_and_with_blanks_around(key):
    name = full_name(key)
    assert name.startswith("hl1")
    assert len(name) == 59
    assert parse_name(name) == parse_name(f"  {name.upper()}\n") == key


ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@given(
    st.binary(min_size=32, max_size=32), st.integers(3, 58), st.sampled_from(ALPHABET)
)  # fmt: skip
def test_one_wrong_character_is_found(key, at, letter):
    name = full_name(key)
    if name[at] == letter:
        return
    with pytest.raises(MistypedNameError, match="typing error"):
        parse_name(name[:at] + letter + name[at + 1 :])


@given(st.binary(min_size=32, max_size=32), st.integers(3, 57))
def test_two_characters_in_the_wrong_order_are_found(key, at):
    name = full_name(key)
    if name[at] == name[at + 1]:
        return
    with pytest.raises(MistypedNameError):
        parse_name(name[:at] + name[at + 1] + name[at] + name[at + 2 :])


NAME = full_name(ME.author)
NO_NAMES = {
    "empty": "",
    "prefix only": "hl1",
    "short name": short_name(ME.author),
    "cut": NAME[:-1],
    "cut by eight": NAME[:-8],
    "longer": NAME + "a",
    "longer by eight": NAME + "a" * 8,
    "padded": NAME[:-1] + "=",
    "blank inside": NAME[:20] + " " + NAME[20:],
    "digit that base32 lacks": NAME[:20] + "1" + NAME[21:],
    "other prefix": "hl2" + NAME[3:],
    "letters that only look alike": NAME.replace(NAME[10], "\u0430"),
    "long s, which is S in capitals": "hl1" + "\u017f" * 56,
    "the key in hexadecimal": ME.author.hex(),
}


@pytest.mark.parametrize("name", NO_NAMES.values(), ids=NO_NAMES.keys())
def test_what_is_no_full_name_is_refused(name):
    with pytest.raises(MistypedNameError) as caught:
        parse_name(name)
    assert "full key" in caught.value.remedy


def test_short_names_differ_and_hold_no_key():
    names = {short_name(bytes([number]) * 32) for number in range(64)}
    assert len(names) == 64
    assert all(len(name.split("-")) == 3 for name in names)


def test_nothing_printed_shows_a_secret():
    for shown in (repr(ME), str(ME), f"{ME}", repr([ME])):
        assert shown.count("Identity(") == 1
        for secret in (ROOT, DEVICE):
            assert secret.hex() not in shown
            assert repr(secret)[2:-1] not in shown


def test_the_known_answer_stays(tmp_path):
    """The formats are forever: these bytes were written by version 1."""
    assert ME.certificate.message().startswith(b"hivelearn/cert/1\0\x83\x58\x20")
    assert full_name(bytes(32)).startswith("hl1" + "a" * 51)
    save(ME, tmp_path)
    assert codec.decode((tmp_path / "certificate.cbor").read_bytes()) == list(ROW)
    assert Certificate(*ROW) == ME.certificate
    assert identity.KEY_BYTES == 32
