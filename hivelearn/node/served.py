"""The adapters that answer, each read from disk and verified once, then kept in memory.

What this disk has lost is told to the log once and left out: one broken file must
not silence the other experts.
"""

import logging
import threading
from typing import TYPE_CHECKING, Final

from hivelearn.errors import PeerError
from hivelearn.files import DiskError
from hivelearn.node import payloads
from hivelearn.store.errors import (
    DamagedBlobError,
    LostAdapterError,
    UnknownPatchError,
)
from hivelearn.store.generations import Served
from hivelearn.store.store import Store

if TYPE_CHECKING:
    from hivelearn.patch.adapter import Adapter
    from hivelearn.patch.envelope import Patch

log: Final = logging.getLogger("hivelearn.node")


class ServedAdapters:
    """What generations and the shelf name, as adapters. May be asked from any thread."""

    def __init__(self, store: Store, base: bytes) -> None:
        self._store, self._base = store, base
        self._lock = threading.RLock()
        self._adapters: dict[str, Adapter] = {}
        self._lost: set[str] = set()  # of these the log has been told

    def get(self, served: Served) -> "Adapter":
        """Return the adapter that a generation serves, kept in memory after the first time.

        Raises:
            DiskError: this disk has lost it; a LostAdapterError says from which domain.
        """
        key = served_id(served)
        with self._lock:
            if key not in self._adapters:
                try:
                    self._adapters[key] = self._read(served)
                except DiskError as error:
                    raise payloads.named(self._store, self._base, served, error) from error
            self._lost.discard(key)
            return self._adapters[key]

    def find(self, served: Served) -> "Adapter | None":
        """Return the adapter, or None if this disk has lost it; the log hears of that once."""
        try:
            return self.get(served)
        except LostAdapterError as error:
            with self._lock:
                known = served_id(served) in self._lost
                self._lost.add(served_id(served))
            if not known:
                log.warning("%s", error)
            return None

    def lend(self, served: Served, adapter: "Adapter") -> None:
        """Let ``served`` mean ``adapter`` before it is stored, so that it can be tried."""
        with self._lock:
            self._adapters[served_id(served)] = adapter

    def patch(self, patch: bytes, payload: bytes | None = None) -> "Patch":
        """Return a patch of the shelf, verified again from its bytes (``payload`` if read already).

        Raises:
            UsageError: it is not on the shelf, or its payload is not here.
            MissingBlobError, DamagedBlobError: this disk has lost it.
        """
        from hivelearn.patch.envelope import unseal_notice
        from hivelearn.patch.notice import read_envelope

        entry = self._store.shelf.get(patch)
        if entry is None or entry.payload is None:
            raise UnknownPatchError(f"patch {patch.hex()[:8]} is not on the shelf with its payload")
        payload = payload or payloads.payload(self._store, entry.payload)
        try:
            # Time 0: what was let in does not stop serving because its offer has expired.
            notice = read_envelope(entry.envelope, now_s=0.0)
            assert notice is not None
            return unseal_notice(notice, payload)
        except PeerError as error:  # it was verified when it came in: its author did nothing
            what = f"the envelope of {patch.hex()[:8]} has changed: {error.what}"
            raise DamagedBlobError(self._store.home.database, what) from error

    def _read(self, served: Served) -> "Adapter":
        from hivelearn.patch.adapter import Adapter
        from hivelearn.patch.safetensors_header import read

        payload = payloads.payload(self._store, served.payload)
        if served.patch is None:  # a merge of our own: its scale is 1 (merging.merge)
            return Adapter.from_bytes(payload, alpha=float(read(payload).rank), base=self._base)
        return self.patch(served.patch, payload).adapter


def served_id(served: Served) -> str:
    """Return the id by which users and routes name what is served."""
    return served.payload if served.patch is None else served.patch.hex()


def content_id(payload: str, adapter: "Adapter") -> str:
    """Return the name of what an adapter does: equal names mean equal losses.

    A patch's id names it too, but not before it is signed; and the payload alone says
    nothing of the scale, so that a copy with another alpha would pass for its original.
    """
    return f"{payload}*{adapter.alpha!r}"
