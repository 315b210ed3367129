"""Measured losses on disk, so that what has not changed is not measured again.

One record is a digest, a number and a checksum, 40 bytes; no word of anybody's is
in it. It is a cache: records are appended without waiting for the disk, a damaged
one is dropped with all after it, and a home that cannot be written to just measures
again. Processes may read and append at the same time.
"""

import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from hivelearn.files import DiskError, write_whole

KEPT: Final = 1 << 16  # records: 2.5 MiB; of more, the oldest half goes
DIGEST_BYTES: Final = 28
_BODY: Final = struct.Struct(f"<{DIGEST_BYTES}sd")
_SUM: Final = struct.Struct("<I")
_RECORD: Final = _BODY.size + _SUM.size


class LossFile:
    """The losses of one home."""

    def __init__(self, path: Path, kept: int = KEPT) -> None:
        self._path, self._kept = path, kept

    def read(self) -> dict[bytes, float]:
        """Return every whole record, oldest first."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return {}
        found: dict[bytes, float] = {}
        for at in range(0, len(data) - _RECORD + 1, _RECORD):
            body = data[at : at + _BODY.size]
            if _SUM.unpack_from(data, at + _BODY.size)[0] != zlib.crc32(body):
                break
            digest, loss = _BODY.unpack(body)
            found[digest] = loss
        if len(found) > self._kept or len(data) != len(found) * _RECORD:
            found = dict(list(found.items())[-self._kept // 2 :])
            with suppress(DiskError):
                write_whole(self._path, _packed(found), mode=0o600)
        return found

    def add(self, losses: Mapping[bytes, float]) -> None:
        """Append records; what the disk refuses is measured again another time."""
        with suppress(OSError):
            new = not self._path.exists()
            with self._path.open("ab") as file:
                if new:
                    self._path.chmod(0o600)
                file.write(_packed(losses))

    def clear(self) -> None:
        """Forget all: a digest still tells whoever guesses a question that it was asked."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _packed(losses: Mapping[bytes, float]) -> bytes:
    bodies = (_BODY.pack(digest, loss) for digest, loss in losses.items())
    return b"".join(body + _SUM.pack(zlib.crc32(body)) for body in bodies)
