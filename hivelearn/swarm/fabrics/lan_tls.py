"""TLS 1.3 for the LAN, from the standard library: two contexts and a throw-away certificate.

The certificate belongs to nobody. It is made for one run of the listener, and no
authority vouches for it; its only use is that both sides know its digest. Each
then signs that digest with its device key (``lan_keys``), so whoever sits between
them with a certificate of his own has nothing to show. So the long-lived key
never goes near a file, and a stolen certificate dies with the process.
"""

import os
import ssl
import tempfile
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from hivelearn.errors import DeviceError

HANDSHAKE_S: Final = 5.0
_PRIVATE_KEY: Final = bytes.fromhex("302e020100300506032b657004220420")  # RFC 8410, then the seed
_ED25519: Final = bytes.fromhex("300506032b6570")
_COMMON_NAME: Final = bytes.fromhex("0603550403")
_SEQUENCE, _SET, _UTF8, _BITS, _UTC, _TIME, _VERSION = 0x30, 0x31, 0x0C, 0x03, 0x17, 0x18, 0xA0
_SHORT, _LONG = 0x80, 0x81  # lengths up to 127 take one byte, up to 255 two


class NoTlsError(DeviceError):
    """This machine's OpenSSL lacks what every node speaks."""

    remedy = "Use a Python whose OpenSSL is 1.1.1 or newer and not held to an older standard."


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    long = len(content) >= _SHORT
    return bytes([tag, *([_LONG] if long else []), len(content)]) + content


def certificate(seed: bytes) -> bytes:
    """Return the self-signed X.509 certificate (DER) of an Ed25519 seed (32 bytes).

    Source: RFC 5280 §4.1 and RFC 8410; every field but the key is a constant.
    """
    key = SigningKey(seed)
    nobody = _der(_SEQUENCE, _der(_SET, _der(_SEQUENCE, _COMMON_NAME, _der(_UTF8, b"hivelearn"))))
    # 9999: RFC 5280's "no well-defined expiration"; the peers' clocks are not asked.
    always = _der(_SEQUENCE, _der(_UTC, b"200101000000Z"), _der(_TIME, b"99991231235959Z"))
    public = _der(_SEQUENCE, _ED25519, _der(_BITS, b"\0", bytes(key.verify_key)))
    version, serial = _der(_VERSION, b"\x02\x01\x02"), b"\x02\x01\x01"
    body = _der(_SEQUENCE, version, serial, _ED25519, nobody, always, nobody, public)
    return _der(_SEQUENCE, body, _ED25519, _der(_BITS, b"\0", key.sign(body).signature))


def for_listening() -> tuple[ssl.SSLContext, bytes]:
    """Return a context with a fresh certificate, and that certificate (DER).

    Raises:
        NoTlsError: the OpenSSL of this Python cannot do it.
    """
    seed = os.urandom(32)
    made = certificate(seed)
    label = "CERTIFICATE"
    pem = ssl.DER_cert_to_PEM_cert(made)
    pem += ssl.DER_cert_to_PEM_cert(_PRIVATE_KEY + seed).replace(label, "PRIVATE KEY")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # every connection proves its keys anew
    with tempfile.TemporaryDirectory(prefix="hivelearn-") as folder:
        # OpenSSL takes keys from files only; the folder is ours alone (0700) and gone at once.
        file = Path(folder) / "listener.pem"
        file.write_text(pem, encoding="ascii")
        try:
            context.load_cert_chain(file)
        except ssl.SSLError as error:  # such as a build that is held to FIPS 186-4
            raise NoTlsError(f"{ssl.OPENSSL_VERSION} takes no Ed25519 key: {error}") from None
    return context, made


def for_dialling() -> ssl.SSLContext:
    """Return a context that takes any certificate: the device key's signature over it decides."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
