"""What the swarm may ask of this node's store, and the quarantine at its door.

Called from the swarm's thread. What arrives is unsealed here, by the one door,
and rests on the shelf as *quarantined*: nothing of it is served, merged or even
measured before `node.merge` judges it.
"""

import logging
import threading
from collections import Counter
from pathlib import Path
from typing import Final

from hivelearn.errors import PeerError
from hivelearn.node import feed, people
from hivelearn.node.workbench import Workbench
from hivelearn.patch.envelope import unseal_notice
from hivelearn.patch.notice import Notice

log: Final = logging.getLogger("hivelearn.swarm")
_OFFERED: Final = ("own", "admitted", "merged", "quarantined", "sandboxed")


class Library:
    """This node's patches, as `hivelearn.swarm` sees them."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._domains: dict[bytes, str] = {}  # topic -> domain
        self._lock = threading.Lock()
        self.arrived = 0
        self.refused: list[str] = []  # sentences, for reports
        self.blamed: Counter[tuple[bytes, str]] = Counter()  # (peer, code): relays' faults

    def open(self, topic: bytes, domain: str) -> None:
        """Say which domain a topic is about."""
        with self._lock:
            self._domains[topic] = domain

    def heads(self, topic: bytes) -> list[bytes]:
        """Return the ids of all patches that this node can offer in a topic."""
        domain = self._domains.get(topic)
        if domain is None:
            return []
        shelf = self._bench.store.shelf
        return [
            entry.id
            for entry in shelf.list(domain=domain, base=self._bench.base)
            if entry.state in _OFFERED
        ]

    def envelope(self, patch: bytes) -> bytes | None:
        """Return a patch's signed envelope, or None."""
        entry = self._bench.store.shelf.get(patch)
        return None if entry is None or entry.state not in _OFFERED else entry.envelope

    def payload(self, patch: bytes) -> Path | None:
        """Return the file of a complete payload, or None."""
        entry = self._bench.store.shelf.get(patch)
        if entry is None or entry.payload is None or entry.state not in _OFFERED:
            return None
        return self._bench.store.blobs.path(entry.payload)

    def wants(self, notice: Notice) -> bool:
        """Return whether to fetch what was announced: our base, our topics, not too large, new."""
        body, bench = notice.body, self._bench
        if body.base != bench.base or body.domain not in self._domains.values():
            return False  # policy.base: nobody's fault
        if body.device == bench.identity.device:
            self._own(notice)
            return False
        if body.payload_bytes > bench.config.patch_max_bytes:
            return False
        if not bench.store.shelf.wants(notice.id):
            return False
        return people.trusted(bench, body.author) or self._room_for_strangers()

    def _own(self, notice: Notice) -> None:
        """An own record that is not here: this home is an old copy; never reuse its numbers."""
        if self._bench.store.shelf.get(notice.id) is not None:
            return
        current = self._bench.identity.certificate.epoch
        if notice.body.certificate.epoch >= current:
            feed.renewed(self._bench)
            log.warning("this home is older than its own feed; a new feed epoch has begun")

    def _room_for_strangers(self) -> bool:
        shelf = self._bench.store.shelf
        waiting = shelf.list(state="quarantined") + shelf.list(state="sandboxed")
        strangers = sum(not people.trusted(self._bench, entry.author) for entry in waiting)
        return strangers < self._bench.config.sandbox_max

    def partial(self, notice: Notice) -> Path:
        """Return where a payload may arrive piece by piece, resumed after a crash."""
        return self._bench.store.blobs.partial(notice.body.payload_root.hex())

    def accept(self, notice: Notice, payload: Path) -> None:
        """Unseal a complete payload and put it into quarantine; refuse it with its reason."""
        bench = self._bench
        name = notice.body.payload_root.hex()
        try:
            patch = unseal_notice(notice, payload.read_bytes())
        except PeerError as error:
            payload.unlink(missing_ok=True)
            self.refused.append(f"{notice.id.hex()[:8]}: {error.what}")
            log.warning("refused %s: %s", notice.id.hex()[:8], error.what)
            if error.fault == "author":
                with bench.store.writing("swarm"):
                    people.after_round(bench, {notice.body.author: ["failure"]})
            return
        with bench.store.writing("swarm"):
            bench.store.blobs.adopt(payload, name)
            entry = feed.entry_of(patch, "quarantined", name, bench.world.clock())
            if bench.store.shelf.add(entry) == "equivocation":
                people.after_round(bench, {notice.body.author: ["harm"]})
                self.refused.append(f"{notice.id.hex()[:8]}: its device signed one number twice")
                return
        self.arrived += 1

    def blame(self, peer: bytes, code: str) -> None:
        """Remember that a relay delivered bytes that do not verify. Reputation is untouched."""
        self.blamed[peer, code] += 1


