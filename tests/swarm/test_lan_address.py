"""Addresses that people type and that the network tells."""

import pytest

from hivelearn.errors import UsageError
from hivelearn.identity import full_name
from hivelearn.swarm.fabrics.lan_address import Address, parse
from hivelearn.swarm.fabrics.lan_discovery import read_entry

ALICE, BOB = b"a" * 32, b"b" * 32


def test_addresses_read_back_as_they_are_written():
    for address in (
        Address("192.168.1.5", 4747),
        Address("::1", 1, ALICE),
        Address("box.local", 65_535, BOB),
    ):
        assert parse(str(address)) == address
    assert parse(" 0.0.0.0:0 ", listening=True) == Address("0.0.0.0", 0)


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":5", "host:0", "host:65536", "host:-1", "host:5x", "ho st:5", "*:5",
     "host:٣", "hl1short@host:5", "host:99999999999999999999", "h" * 64 + ":5", "h." * 127 + ":5"],
)  # fmt: skip
def test_what_is_no_address_is_the_callers_to_fix(text):
    with pytest.raises(UsageError):
        parse(text)


def test_a_listening_address_has_no_key():
    with pytest.raises(UsageError):
        parse(f"{full_name(ALICE)}@host:5", listening=True)


ENTRIES = {
    "good": ({b"k": ALICE.hex().encode()}, 5, [Address("h", 5, ALICE)]),
    "no key": ({}, 5, []),
    "no port": ({b"k": ALICE.hex().encode()}, None, []),
    "empty key": ({b"k": None}, 5, []),
    "key not hex": ({b"k": b"zz" * 32}, 5, []),
    "key not text": ({b"k": b"\xff" * 64}, 5, []),
    "short key": ({b"k": b"aa"}, 5, []),
}


@pytest.mark.parametrize(("properties", "port", "found"), ENTRIES.values(), ids=ENTRIES.keys())
def test_an_entry_of_the_network_is_read_or_ignored(properties, port, found):
    assert read_entry(["h"], port, properties) == found
