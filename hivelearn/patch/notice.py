"""A verified envelope whose payload is not here yet, and the only way to one.

The order of checks is the order of cost: size, canonical bytes, certificate,
signature, then meaning. Bytes that fail before the signature blame whoever
delivered them; a signed body that makes no sense blames its author. A record of
a later kind or version is nobody's fault: the answer is None.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from hivelearn import codec
from hivelearn.errors import PeerError
from hivelearn.identity import Certificate, verify
from hivelearn.patch.manifest import PATCH, Body

ENVELOPE_MAX_BYTES: Final = 64 * 1024
ID_TAG: Final = b"hivelearn/id/1\0"
SIGNATURE_TAG: Final = b"hivelearn/sig/1\0"


class EnvelopeError(PeerError):
    """These bytes are no envelope, or its signature does not hold."""

    def __init__(self, what: str, code: str) -> None:
        super().__init__(f"envelope refused: {what}", code=code)


@dataclass(frozen=True, slots=True)
class Notice:
    """Somebody signed that this patch exists. Comes only from :func:`read_envelope`."""

    id: bytes  # 32: SHA-256(tag ‖ body)
    body: Body
    envelope: bytes  # as received

    def __repr__(self) -> str:
        """Tell which, of whom and what about."""
        body = self.body
        return f"Notice({self.id.hex()[:8]}, {body.domain}, {body.payload_bytes} bytes)"


def record_id(body: bytes) -> bytes:
    """Return the id of a record from its body's canonical bytes."""
    return hashlib.sha256(ID_TAG + body).digest()


def claimed_id(envelope: bytes) -> bytes:
    """Return the id of the record in an envelope, which nobody has verified yet.

    Raises:
        PeerError: these bytes are no envelope.
    """
    return record_id(_parted(envelope)[0])


def read_envelope(envelope: bytes, *, now_s: float) -> Notice | None:
    """Verify an envelope and return its notice, or None for a kind of a later version.

    Args:
        envelope: the bytes as they came, at most 64 KiB.
        now_s: Unix seconds, against the certificate's and the record's expiry.

    Raises:
        PeerError: whatever is wrong with it; ``fault`` and ``code`` say whose and what.
    """
    raw, signature = _parted(envelope)
    value = codec.decode(raw)
    match value:
        case {1: int(kind), 2: bytes(author), 3: [*chain]} if type(kind) is int:
            pass
        case _:
            raise EnvelopeError("body without kind, author and certificate", "envelope.form")
    certificate = _certificate(author, chain)
    certificate.check(now_s)
    if not verify(certificate.device, SIGNATURE_TAG + raw, signature):
        raise EnvelopeError("the signature does not hold", "sig")
    if kind != PATCH:
        return None
    body = Body.from_value(cast("Mapping[int, Any]", value))  # matched as a map above
    if now_s > body.valid_until:
        raise PeerError("the record has expired", code="body.expired", fault="nobody")
    return Notice(record_id(raw), body, envelope)


def _parted(envelope: bytes) -> tuple[bytes, bytes]:
    """Return the body's bytes and the signature of an envelope."""
    if len(envelope) > ENVELOPE_MAX_BYTES:
        raise EnvelopeError(f"{len(envelope)} bytes", "frame.size")
    match codec.decode(envelope):
        case {1: bytes(raw), 2: bytes(signature), **rest} if not rest:
            return raw, signature
    raise EnvelopeError("not a body and a signature", "envelope.form")


def _certificate(author: bytes, chain: list[Any]) -> Certificate:
    match chain:
        case [bytes(device), int(not_after), int(epoch), bytes(signature)]:
            return Certificate(author, device, not_after, epoch, signature)
    raise EnvelopeError("certificate malformed", "cert.form")
