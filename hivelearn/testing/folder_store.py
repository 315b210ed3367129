"""A swarm's patch store in a folder, and signed notices of any payload: for tests of networks.

The payloads are plain bytes, no adapters: the swarm moves bytes and must not
care. Real nodes have a real one (``node``).
"""

import hashlib
import threading
from collections.abc import Collection
from pathlib import Path

from hivelearn import codec, identity
from hivelearn.patch import chunks
from hivelearn.patch.adapter_spec import AdapterSpec
from hivelearn.patch.manifest import Body
from hivelearn.patch.notice import SIGNATURE_TAG, Notice, read_envelope
from hivelearn.testing.fabric_contract import seed_of

NOW_S = 1_700_000_000.0
_SPEC = AdapterSpec(1, 1.0, "F32", ("q_proj",), (0,), shared_a=False)


def author(name: str) -> identity.Identity:
    """Return the identity that belongs to ``name``; its device is the peer of that name."""
    root = hashlib.sha256(f"root:{name}".encode()).digest()
    return identity.make(root, seed_of(name), NOW_S)


def envelope_of(body: Body, who: identity.Identity) -> bytes:
    """Sign ``body``, whatever it says."""
    raw = body.to_bytes()
    return codec.encode({1: raw, 2: who.sign(SIGNATURE_TAG + raw)})


def notice_of(payload: bytes, who: identity.Identity, *, seq: int = 0, **claims: object) -> Notice:
    """Return the signed notice of ``payload``; ``claims`` replace fields of the body."""
    fields: dict[str, object] = {
        "author": who.author,
        "certificate": who.certificate,
        "seq": seq,
        "prev": None,
        "base": bytes(32),
        "adapter": _SPEC,
        "domain": "roman",
        "payload_root": chunks.root(chunks.leaves_of(payload)),
        "payload_bytes": len(payload),
        "created": int(NOW_S),
        "valid_until": int(NOW_S) + 86_400,
    }
    body = Body(**(fields | claims))  # type: ignore[arg-type]
    notice = read_envelope(envelope_of(body, who), now_s=NOW_S)
    assert notice is not None
    return notice


class FolderStore:
    """A ``PatchStore`` that wants everything, but the ids in ``refuse``."""

    def __init__(self, folder: Path) -> None:
        """Keep files in ``folder``."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.held: dict[bytes, Notice] = {}
        self.blamed: list[tuple[bytes, str]] = []
        self.refuse: set[bytes] = set()  # patch ids that `wants` refuses
        self.trusted: set[bytes] = set()  # authors' keys
        self._lock = threading.Lock()

    def put(self, notice: Notice, payload: bytes) -> None:
        """Hold a patch from the start."""
        self._file(notice.id).write_bytes(payload)
        with self._lock:
            self.held[notice.id] = notice

    def heads(self, topic: bytes) -> list[bytes]:
        """See ``PatchStore.heads``; one topic for all."""
        del topic
        with self._lock:
            return sorted(self.held)

    def envelope(self, patch_id: bytes, topics: Collection[bytes] = ()) -> bytes | None:
        """See ``PatchStore.envelope``."""
        del topics
        with self._lock:
            notice = self.held.get(patch_id)
        return notice.envelope if notice is not None else None

    def payload(self, patch_id: bytes, topics: Collection[bytes] = ()) -> Path | None:
        """See ``PatchStore.payload``."""
        del topics
        with self._lock:
            return self._file(patch_id) if patch_id in self.held else None

    def wants(self, topic: bytes, notice: Notice, relay: bytes) -> bool:
        """See ``PatchStore.wants``."""
        del topic, relay
        with self._lock:
            return notice.id not in self.held and notice.id not in self.refuse

    def trusts(self, author: bytes) -> bool:
        """See ``PatchStore.trusts``."""
        return author in self.trusted

    def partial(self, notice: Notice) -> Path:
        """See ``PatchStore.partial``."""
        return self.folder / f"{notice.id.hex()}.partial"

    def accept(self, notice: Notice, payload: Path) -> None:
        """See ``PatchStore.accept``."""
        payload.replace(self._file(notice.id))
        with self._lock:
            self.held[notice.id] = notice

    def blame(self, peer: bytes, code: str) -> None:
        """See ``PatchStore.blame``."""
        with self._lock:
            self.blamed.append((peer, code))

    def _file(self, patch_id: bytes) -> Path:
        return self.folder / f"{patch_id.hex()}.payload"
