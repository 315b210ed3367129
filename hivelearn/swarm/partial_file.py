"""The partial file of a payload: written out of order, trusted only after hashing.

There is no bitmap beside it. A bitmap can be older or newer than the data after
a crash; hashing 20 MB again takes 13 ms and cannot be wrong.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from hivelearn.files import sync_file
from hivelearn.patch.chunks import CHUNK_BYTES, leaf


def rehash(path: Path, leaves: Sequence[bytes]) -> frozenset[int]:
    """Return the indices of the chunks in ``path`` that match their leaf (32 bytes each)."""
    if not path.exists():
        return frozenset()
    right = set()
    with path.open("rb") as file:
        for index, expected in enumerate(leaves):
            chunk = file.read(CHUNK_BYTES)
            if not chunk:
                break
            if leaf(chunk) == expected:
                right.add(index)
    return frozenset(right)


def write(path: Path, index: int, data: bytes) -> None:
    """Write chunk ``index``; the file is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not "ab" (it ignores seek) and not "wb" (it truncates).
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(handle, "r+b") as file:
        file.seek(index * CHUNK_BYTES)
        file.write(data)


def finish(path: Path, payload_bytes: int) -> None:
    """Cut what an older try left behind the end, and make the bytes durable."""
    with path.open("r+b") as file:
        file.truncate(payload_bytes)
        file.flush()
        sync_file(file.fileno())
