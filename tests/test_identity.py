"""Signatures, certificates and names: one form each, and nothing printed shows a secret."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.errors import PeerError
from hivelearn.identity import (
    CERTIFICATE_VALID_S,
    EPOCH_MAX,
    MistypedNameError,
    full_name,
    make,
    parse_name,
    short_name,
    verify,
)

NOW = 1_700_000_000
ROOT, DEVICE = bytes(range(32)), bytes(range(32, 64))
ME = make(ROOT, DEVICE, NOW)
L = 2**252 + 27742317777372353535851937790883648493  # order of the Ed25519 base point


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


def test_equal_seeds_make_equal_identities():
    assert make(ROOT, DEVICE, NOW) == ME


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


def test_the_name_of_a_key_is_for_ever():
    assert full_name(bytes(32)) == "hl1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaalef2a"
    assert short_name(bytes(32)) == "gentle-robin-313e"
