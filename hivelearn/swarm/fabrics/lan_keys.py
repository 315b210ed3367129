"""Who is at the other end of a LAN connection: CURVE keys and the hello. Without I/O.

The CURVE key (X25519) is the device key (Ed25519) converted, so one name serves
both. CURVE proves the X25519 key only, and that leaves the sign of the Ed25519
key open; the hello closes this: each side signs, with the device key, a
statement that names both connection keys. A replayed hello is worthless to
whoever does not hold the CURVE key in it.
"""

from dataclasses import dataclass
from typing import Final

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from hivelearn import codec
from hivelearn.errors import PeerError
from hivelearn.identity import KEY_BYTES, SIGNATURE_BYTES, verify
from hivelearn.swarm.topics import NONCE_BYTES

HELLO_MAX_BYTES: Final = 512
_TAG: Final = b"hivelearn/lan-hello/1\0"


class HelloError(PeerError):
    """The other side did not prove the device key it claims."""

    code = "hello"


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """The device key in both its forms; raw 32-byte keys."""

    device: bytes  # Ed25519, public
    curve: bytes  # X25519, public
    curve_secret: bytes
    signing: SigningKey

    def __repr__(self) -> str:
        """Show no secret."""
        return f"DeviceKeys({self.device.hex()[:8]})"

    @classmethod
    def of(cls, device_seed: bytes) -> "DeviceKeys":
        """Return the keys of a 32-byte seed."""
        signing = SigningKey(device_seed)
        curve = signing.to_curve25519_private_key()
        return cls(bytes(signing.verify_key), bytes(curve.public_key), bytes(curve), signing)


def curve_of(device: bytes) -> bytes:
    """Return the CURVE key (32 bytes) that belongs to a device key.

    Raises:
        HelloError: these 32 bytes are no Ed25519 key.
    """
    try:
        return bytes(VerifyKey(device).to_curve25519_public_key())
    except (CryptoError, ValueError, TypeError):
        raise HelloError("the claimed device key is no Ed25519 key") from None


def make_hello(keys: DeviceKeys, nonce: bytes, their_curve: bytes) -> bytes:
    """Return our hello for a connection to ``their_curve``."""
    signature = keys.signing.sign(_statement(nonce, keys.curve, their_curve)).signature
    return codec.encode({1: keys.device, 2: nonce, 3: signature})


def read_hello(hello: bytes, their_curve: bytes, our_curve: bytes) -> tuple[bytes, bytes]:
    """Return (device key, nonce) of a hello that came over a CURVE connection.

    Args:
        hello: the frame as received.
        their_curve: the key that CURVE proved for the other side, 32 bytes.
        our_curve: our own.

    Raises:
        HelloError: it proves nothing. ``codec.CodecError`` for what is not canonical.
    """
    if len(hello) > HELLO_MAX_BYTES:
        raise HelloError(f"hello of {len(hello)} bytes")
    match codec.decode(hello):
        case {1: bytes(device), 2: bytes(nonce), 3: bytes(signature)}:
            pass
        case _:
            raise HelloError("hello without key, nonce and signature")
    sizes = (len(device), len(nonce), len(signature))
    if sizes != (KEY_BYTES, NONCE_BYTES, SIGNATURE_BYTES):
        raise HelloError("hello with parts of the wrong size")
    if curve_of(device) != their_curve:
        raise HelloError("the device key is not the one of this connection")
    if not verify(device, _statement(nonce, their_curve, our_curve), signature):
        raise HelloError("the hello is not signed by the device key")
    return device, nonce


def _statement(nonce: bytes, from_curve: bytes, to_curve: bytes) -> bytes:
    return _TAG + nonce + from_curve + to_curve
