"""Who is at the other end of a LAN connection: proofs, without any network."""

from dataclasses import replace

import pytest

from hivelearn.errors import PeerError
from hivelearn.swarm.fabrics import lan_keys

ALICE, BOB, EVE = (lan_keys.DeviceKeys.of(name * 32) for name in (b"a", b"b", b"e"))
HERE = lan_keys.HandshakeSession(b"certificate", b"d" * 32, b"l" * 32)
OTHER = replace(HERE, listener_nonce=b"m" * 32)
BETWEEN = replace(HERE, certificate=b"of somebody in between")
LISTENING = lan_keys.prove(BOB, HERE, None)
DIALLING = lan_keys.prove(ALICE, HERE, BOB.device)


def test_each_side_proves_its_device_key_in_this_session():
    assert lan_keys.proven(LISTENING, HERE, None) == BOB.device
    assert lan_keys.proven(DIALLING, HERE, BOB.device) == ALICE.device


PROOFS = {
    "replayed in another session": (LISTENING, OTHER, None),
    "over a connection to somebody else": (LISTENING, BETWEEN, None),
    "a dialler's, replayed": (DIALLING, OTHER, BOB.device),
    "a dialler's, passed on": (DIALLING, HERE, EVE.device),
    "a dialler's, as a listener's": (DIALLING, HERE, None),
    "a listener's, as a dialler's": (LISTENING, HERE, BOB.device),
    "tampered": (LISTENING[:-1] + bytes([LISTENING[-1] ^ 1]), HERE, None),
    "of the wrong form": (b"\x81\x01", HERE, None),
    "not canonical": (b"\xff", HERE, None),
    "too long": (bytes(1_000), HERE, None),
    "short parts": (b"\xa2\x01\x41a\x02\x41b", HERE, None),
}


@pytest.mark.parametrize(("proof", "session", "listener"), PROOFS.values(), ids=PROOFS.keys())
def test_a_proof_that_proves_nothing_is_refused(proof, session, listener):
    with pytest.raises(PeerError):
        lan_keys.proven(proof, session, listener)


def test_no_secret_is_printed_and_no_nonce_is_short():
    assert bytes(ALICE.signing).hex() not in repr(ALICE)
    with pytest.raises(lan_keys.HelloError):
        lan_keys.HandshakeSession(b"certificate", b"short", b"l" * 32)
