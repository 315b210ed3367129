"""Who signs: a root key, a device key certified by it, and names for both.

The root key is the author that people vouch for. It certifies one device key,
which signs records and names the node on the network; so the root key can leave
the machine, and a stolen device is one expired certificate away from silence.
The certificate says nothing of feeds: a new one is begun without the root key.

Ed25519 comes from libsodium through PyNaCl and nowhere else: libraries disagree
about small-order keys, and two nodes must not.
"""

import base64
import hashlib
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from hivelearn import codec
from hivelearn.errors import DeviceError, PeerError, UsageError
from hivelearn.files import DiskError, disk, rename_whole, write_whole
from hivelearn.name_words import ADJECTIVES, ANIMALS

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
CERTIFICATE_VALID_S: Final = 5 * 365 * 86_400
RENEWED_BEFORE_S: Final = 365 * 86_400
EPOCH_MAX: Final = 2**32 - 1
_FILES: Final = ("certificate.cbor", "device.key", "root.key")
_CERTIFICATE_FILE, _DEVICE_FILE, _ROOT_FILE = _FILES
_SECRET: Final = 0o600
_CERTIFICATE_TAG: Final = b"hivelearn/cert/1\0"
_NAME_TAG: Final = b"hivelearn/name/1\0"
_PREFIX: Final = "hl1"
_CHECK_BYTES: Final = 3  # 32 + 3 bytes are 56 base32 characters without padding


class MistypedNameError(UsageError):
    """A node's name was mistyped or is the short form."""

    remedy = "Ask the owner for the full key: `hivelearn status` prints it as hl1…"


class IdentityError(DeviceError):
    """The keys in the home are missing a part, unreadable or altered."""

    remedy = (
        "Restore the home's `identity` folder from a backup, or go on in a new home; "
        "a new identity starts without anybody's trust."
    )


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether ``signature`` (64 bytes) over ``message`` is by ``key`` (32 bytes)."""
    try:
        VerifyKey(key).verify(message, signature)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Certificate:
    """``root`` lets ``device`` sign for it until ``not_after``."""

    root: bytes  # 32, Ed25519
    device: bytes  # 32, Ed25519
    not_after: int  # Unix seconds
    epoch: int  # 0; it is signed, so it stays: earlier versions named the device's one feed here
    signature: bytes  # 64, by root

    def __post_init__(self) -> None:
        """Refuse sizes and ranges that no certificate can have."""
        sizes = (len(self.root), len(self.device), len(self.signature))
        if sizes != (KEY_BYTES, KEY_BYTES, SIGNATURE_BYTES):
            raise PeerError("certificate holds a key of the wrong size", code="cert.form")
        if not (0 <= self.epoch <= EPOCH_MAX and 0 <= self.not_after < 2**63):
            raise PeerError("certificate epoch or expiry is out of range", code="cert.form")

    def message(self) -> bytes:
        """Return the bytes that the root key signs."""
        return _CERTIFICATE_TAG + codec.encode([self.device, self.not_after, self.epoch])

    def check(self, now_s: float) -> None:
        """Raise PeerError unless the root signed it and it is still valid at ``now_s``."""
        if not verify(self.root, self.message(), self.signature):
            raise PeerError("device certificate is not signed by its root key", code="cert.sig")
        if now_s > self.not_after:
            raise PeerError("device certificate has expired", code="cert.expired", fault="nobody")


@dataclass(frozen=True, slots=True)
class Identity:
    """The keys of this node; ``root_seed`` is None where the root key lives elsewhere."""

    certificate: Certificate
    device_seed: bytes
    root_seed: bytes | None

    def __repr__(self) -> str:
        """Show names, never seeds."""
        return f"Identity({short_name(self.author)})"

    @property
    def author(self) -> bytes:
        """The root public key, 32 bytes: what people vouch for."""
        return self.certificate.root

    @property
    def device(self) -> bytes:
        """The device public key, 32 bytes: what signs and what the network sees."""
        return self.certificate.device

    def sign(self, message: bytes) -> bytes:
        """Return the device key's 64-byte signature over ``message``."""
        return SigningKey(self.device_seed).sign(message).signature


def _certify(root_seed: bytes, device: bytes, now_s: float, epoch: int) -> Certificate:
    root = SigningKey(root_seed)
    not_after = int(now_s) + CERTIFICATE_VALID_S
    blank = Certificate(bytes(root.verify_key), device, not_after, epoch, bytes(SIGNATURE_BYTES))
    return replace(blank, signature=root.sign(blank.message()).signature)


def make(root_seed: bytes, device_seed: bytes, now_s: float, epoch: int = 0) -> Identity:
    """Return the identity of two 32-byte seeds (tests give fixed ones)."""
    device = bytes(SigningKey(device_seed).verify_key)
    return Identity(_certify(root_seed, device, now_s, epoch), device_seed, root_seed)


def is_in(folder: Path) -> bool:
    """Return whether any part of an identity is kept in ``folder``."""
    return any((folder / name).exists() for name in _FILES)


def open_in(folder: Path, now_s: float) -> Identity:
    """Return the identity kept in ``folder``, made now if there is none.

    A certificate in its last year is renewed where the root key is at hand.

    Raises:
        IdentityError: files are missing, altered or do not belong together, or
            the disk refuses.
    """
    try:
        if not is_in(folder):
            return _make_once(folder, now_s)
        identity = _read(folder)
    except (OSError, PeerError, ValueError, TypeError) as error:
        why = error.what if isinstance(error, PeerError) else error  # its remedy is a peer's
        raise IdentityError(f"the identity in {folder} cannot be used: {why}") from error
    certificate = identity.certificate
    if identity.root_seed is None or now_s <= certificate.not_after - RENEWED_BEFORE_S:
        return identity
    fresh = _certify(identity.root_seed, identity.device, now_s, certificate.epoch)
    identity = replace(identity, certificate=fresh)
    with suppress(DiskError):  # a read-only home renews again at the next start
        save(identity, folder)
    return identity


def _make_once(folder: Path, now_s: float) -> Identity:
    """Make an identity beside ``folder`` and move it there whole, or find that another did.

    A crash leaves all files or none; of two processes that start together, one
    makes the keys and the other reads them.
    """
    identity = make(os.urandom(KEY_BYTES), os.urandom(KEY_BYTES), now_s)
    fresh = folder.with_name(f"{folder.name}.{os.urandom(4).hex()}")
    try:
        save(identity, fresh)
        with suppress(OSError):
            folder.rmdir()  # an empty folder may stand in the way
        with disk(folder):
            rename_whole(fresh, folder)
    except DiskError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if (folder / _CERTIFICATE_FILE).exists():
            return _read(folder)  # another process was first
        raise IdentityError(
            f"no keys could be made in {folder}: {error.said}",
            remedy="Name a home that can be written and has room, with nothing else in `identity`.",
        ) from error
    return identity


def _read(folder: Path) -> Identity:
    """Return the identity in ``folder``.

    Raises:
        IdentityError, OSError, PeerError, ValueError, TypeError: it is damaged.
    """
    certificate = _certificate((folder / _CERTIFICATE_FILE).read_bytes())
    certificate.check(now_s=0)  # an expired one still opens: asking needs no signature
    seed = (folder / _DEVICE_FILE).read_bytes()
    if bytes(SigningKey(seed).verify_key) != certificate.device:
        raise IdentityError(f"the device key in {folder} is not the certified one")
    root_file = folder / _ROOT_FILE
    root_seed = root_file.read_bytes() if root_file.exists() else None
    if root_seed is not None and bytes(SigningKey(root_seed).verify_key) != certificate.root:
        raise IdentityError(f"the root key in {folder} is not the one that certified")
    return Identity(certificate, seed, root_seed)


def _certificate(raw: bytes) -> Certificate:
    match codec.decode(raw):
        case [bytes(root), bytes(device), int(not_after), int(epoch), bytes(signature)]:
            return Certificate(root, device, not_after, epoch, signature)
    raise ValueError("certificate file does not hold a certificate")


def save(identity: Identity, folder: Path) -> None:
    """Write ``identity`` into ``folder`` (0700), each file 0600 and whole or absent.

    Raises:
        DiskError: the disk refuses; files that were there are untouched or replaced whole.
    """
    with disk(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    if identity.root_seed is not None:
        write_whole(folder / _ROOT_FILE, identity.root_seed, mode=_SECRET)
    write_whole(folder / _DEVICE_FILE, identity.device_seed, mode=_SECRET)
    cert = identity.certificate
    row: list[codec.Value] = [cert.root, cert.device, cert.not_after, cert.epoch, cert.signature]
    # The certificate goes last: its presence says that the keys are all there.
    write_whole(folder / _CERTIFICATE_FILE, codec.encode(row), mode=_SECRET)


def full_name(key: bytes) -> str:
    """Return the printable full key, ``hl1`` and 56 characters with a check sum."""
    check = hashlib.sha256(_NAME_TAG + key).digest()[:_CHECK_BYTES]
    return _PREFIX + base64.b32encode(key + check).decode().lower()


def parse_name(name: str) -> bytes:
    """Return the 32-byte key that :func:`full_name` printed.

    Raises:
        MistypedNameError: a short name, a typing error, or something else.
    """
    text = str(name).strip()
    if not text.lower().startswith(_PREFIX):
        raise MistypedNameError(f"{text[:40]!r} is not a full key")
    try:
        raw = base64.b32decode(text[len(_PREFIX) :].upper())
    except ValueError:
        raise MistypedNameError(f"{text[:80]!r} is not a full key") from None
    key = raw[:KEY_BYTES]
    if len(raw) != KEY_BYTES + _CHECK_BYTES or full_name(key) != text.lower():
        raise MistypedNameError(f"{text[:80]!r} has a typing error")
    return key


def short_name(key: bytes) -> str:
    """Return a name for eyes only, such as ``amber-otter-7f3a``.

    It holds 28 bits, which anybody can grind: never compare, never vouch by it.
    """
    digest = hashlib.sha256(_NAME_TAG + key).digest()
    adjective = ADJECTIVES[digest[4] % len(ADJECTIVES)]
    animal = ANIMALS[digest[5] % len(ANIMALS)]
    return f"{adjective}-{animal}-{digest[6:8].hex()}"
