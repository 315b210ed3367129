"""Who meets whom: topic ids, and how to compare them without showing them.

A topic id is a capability: who knows it can take part. So it never crosses the
wire. Two peers exchange fresh nonces and show *tags* of their topics, keyed
hashes that only somebody who knows the id can recognise or make.

Limits, honestly: without a secret, anybody who guesses base and domain knows
the id (that is what an open topic means). With a secret, strength is the
secret's: a short one can be found by trying, because a tag is one SHA-256 away.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from hivelearn.errors import UsageError

TOPIC_BYTES: Final = 32
TAG_BYTES: Final = 32
TAGS_MAX: Final = 256  # shown in one session
NONCE_BYTES: Final = 32
_TOPIC: Final = b"hivelearn/topic/1\0"
_SWARM: Final = b"hivelearn/swarm/1\0"
_TAG: Final = b"hivelearn/tag/1\0"


def topic(base: bytes, domain: str, secret: str | bytes = b"") -> bytes:
    """Return the 32-byte id under which nodes of one base, domain and secret meet.

    Args:
        base: fingerprint of the base model, 32 bytes.
        domain: subject; empty for the lobby.
        secret: closes the topic; empty for an open one. Text counts as UTF-8.

    Raises:
        UsageError: the secret is no text that others could type.
    """
    name, key = domain.encode(), _key(secret)
    # Each part behind its length: no two triples run together to the same bytes.
    parts = b"".join(len(part).to_bytes(4, "big") + part for part in (base, name, key))
    return hashlib.sha256(_TOPIC + parts).digest()


def lobby(base: bytes, secret: str | bytes = b"") -> bytes:
    """Return the topic in which nodes of one base tell only which domains they saw."""
    return topic(base, "", secret)


def swarm(secret: str | bytes = b"") -> bytes:
    """Return the 32-byte name of all that meet under one secret: each has feeds of its own.

    It stays in the home; what is signed for a swarm bears a number drawn by chance.
    """
    return hashlib.sha256(_SWARM + _key(secret)).digest()


def _key(secret: str | bytes) -> bytes:
    try:
        return secret.encode() if isinstance(secret, str) else secret
    except UnicodeEncodeError:  # half a character: bytes of a terminal that are no UTF-8
        raise UsageError(
            "the secret is not valid Unicode text",
            remedy="Type it in a terminal that speaks UTF-8, or choose other characters.",
        ) from None


def tag(topic_id: bytes, speaker: bytes, salt: bytes) -> bytes:
    """Return what ``speaker`` (32-byte key) shows of a topic in the session of ``salt``.

    The speaker is part of it, so an echo of my own tag proves nothing.
    """
    return hmac.digest(topic_id, _TAG + speaker + salt, "sha256")


def salt(first_nonce: bytes, second_nonce: bytes) -> bytes:
    """Return the session's salt; each side gave one of the 32-byte nonces."""
    return first_nonce + second_nonce


def recognise(topics: Iterable[bytes], speaker: bytes, session: bytes) -> dict[bytes, bytes]:
    """Return {tag: topic} of all tags that ``speaker`` may show for topics we know."""
    return {tag(topic_id, speaker, session): topic_id for topic_id in topics}
