"""A payload in chunks of 256 KiB and the one hash that binds them.

The content id is the Merkle root of RFC 6962 over the chunks: 0x00 before a
leaf, 0x01 before a node, so that no inner node can pose as a chunk. A fetcher
asks for the leaves first, checks them against the signed root, and can then
verify every chunk as it lands, from whomever it comes.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from hivelearn.errors import PeerError

CHUNK_BYTES: Final = 256 * 1024
HASH_BYTES: Final = 32


def leaf(chunk: bytes) -> bytes:
    """Return the hash of one chunk (SHA-256, RFC 6962 prefix 0x00)."""
    return hashlib.sha256(b"\x00" + chunk).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle root of ``leaves`` (RFC 6962 §2.1; of none, SHA-256 of nothing)."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        # RFC 6962 splits at the largest power of two; pairing from the left
        # and carrying an odd last one up builds the same tree.
        paired = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
    return level[0]


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def leaves_of(source: bytes | Path) -> list[bytes]:
    """Return the leaf hashes of a payload in memory or in a file."""
    return [leaf(chunk) for chunk in _chunks(source)]


def _chunks(source: bytes | Path) -> Iterator[bytes]:
    if isinstance(source, bytes):
        for start in range(0, len(source), CHUNK_BYTES):
            yield source[start : start + CHUNK_BYTES]
        return
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def count(payload_bytes: int) -> int:
    """Return how many chunks a payload of this size has."""
    return -(-payload_bytes // CHUNK_BYTES)


def check_payload(payload: bytes, expected_root: bytes, expected_bytes: int) -> None:
    """Raise PeerError (the relay's fault) unless these are the signed bytes."""
    if len(payload) != expected_bytes or root(leaves_of(payload)) != expected_root:
        raise PeerError(
            f"payload of {len(payload)} bytes is not the one that was signed", code="payload.hash"
        )
