"""Who is at the other end of a LAN connection: proofs of device keys. Without I/O.

TLS gives a channel that nobody outside can read or alter, to a certificate that
belongs to nobody. Both sides send a nonce; then the listener signs, with its
device key, a statement that names the certificate and both nonces, and when that
holds the dialler signs the same and the listener's key besides. So whoever sits
between two nodes shows a certificate that the other did not sign, a proof of
another session is worthless, and a dialler shows its key only to whom it wanted.

Source: the channel binding is RFC 5929's tls-server-end-point; the order of
proofs is SIGMA-I's (Krawczyk 2003), where the one who answers proves itself first.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from nacl.signing import SigningKey

from hivelearn import codec
from hivelearn.errors import PeerError
from hivelearn.identity import KEY_BYTES, SIGNATURE_BYTES, verify
from hivelearn.swarm import topics

_TAG: Final = b"hivelearn/lan-hello/2\0"
_LISTENER, _DIALLER = b"\0", b"\1"
HELLO_MAX_BYTES: Final = 512


class HelloError(PeerError):
    """The other side did not prove the device key it claims."""

    code = "hello"


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """The device key, Ed25519."""

    device: bytes  # 32, public
    signing: SigningKey

    def __repr__(self) -> str:
        """Show no secret."""
        return f"DeviceKeys({self.device.hex()[:8]})"

    @classmethod
    def of(cls, device_seed: bytes) -> "DeviceKeys":
        """Return the keys of a 32-byte seed."""
        signing = SigningKey(device_seed)
        return cls(bytes(signing.verify_key), signing)


@dataclass(frozen=True, slots=True)
class HandshakeSession:
    """One connection and no other: what both proofs speak of."""

    certificate: bytes  # of the listener, DER, as each side sees it
    dialler_nonce: bytes  # 32
    listener_nonce: bytes  # 32

    def __post_init__(self) -> None:
        """Refuse nonces of any other size."""
        if {len(self.dialler_nonce), len(self.listener_nonce)} != {topics.NONCE_BYTES}:
            raise HelloError("a nonce of the wrong size")

    @property
    def salt(self) -> bytes:
        """Of topic tags."""
        return topics.salt(self.dialler_nonce, self.listener_nonce)

    def statement(self, speaker: bytes, listener: bytes | None) -> bytes:
        """Return what ``speaker`` signs; a dialler names the ``listener`` it speaks to."""
        # Every part has one size, so no two statements run together to the same bytes.
        role = _LISTENER + bytes(KEY_BYTES) if listener is None else _DIALLER + listener
        return _TAG + role + speaker + hashlib.sha256(self.certificate).digest() + self.salt


def prove(keys: DeviceKeys, session: HandshakeSession, listener: bytes | None) -> bytes:
    """Return our proof: as the listener (None), or as the dialler of ``listener``."""
    statement = session.statement(keys.device, listener)
    return codec.encode({1: keys.device, 2: keys.signing.sign(statement).signature})


def proven(proof: bytes, session: HandshakeSession, listener: bytes | None) -> bytes:
    """Return the device key that ``proof`` proves: the listener's (None), or its dialler's.

    Raises:
        HelloError: it proves nothing. ``codec.CodecError`` for what is not canonical.
    """
    if len(proof) > HELLO_MAX_BYTES:
        raise HelloError(f"proof of {len(proof)} bytes")
    match codec.decode(proof):
        case {1: bytes(device), 2: bytes(signature)}:
            pass
        case _:
            raise HelloError("a proof without key and signature")
    if (len(device), len(signature)) != (KEY_BYTES, SIGNATURE_BYTES):
        raise HelloError("a proof with parts of the wrong size")
    if not verify(device, session.statement(device, listener), signature):
        raise HelloError("the hello is not signed by the device key")
    return device
