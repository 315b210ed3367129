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
from hivelearn.patch import lineage
from hivelearn.patch.envelope import unseal_notice
from hivelearn.patch.notice import Notice, read_envelope
from hivelearn.store.shelf import State

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
                entry = feed.entry_of(notice, "refused", None, bench.world.clock())
                with bench.store.writing("swarm"):
                    bench.store.shelf.add(entry)  # so that it is not fetched again
                    people.after_merge(bench, {notice.id: (notice.body.author, "failure")})
            raise
        with bench.store.writing("swarm"):
            bench.store.blobs.adopt(payload, name)
            state: State = "quarantined" if self._has_parents(notice) else "parked"
            entry = feed.entry_of(patch, state, name, bench.world.clock())
            if bench.store.shelf.add(entry) == "equivocation":
                people.after_round(bench, {notice.body.author: ["harm"]})
                self.refused.append(f"{notice.id.hex()[:8]}: its device signed one number twice")
                return
            self._unpark(notice.body.domain)
        self.arrived += 1

    def _has_parents(self, notice: Notice) -> bool:
        """Whether all ancestors that a record names are here; early is nobody's fault.

        Raises:
            PeerError: its lineage is deeper than any honest one; its author's fault.
        """
        if not notice.body.parents:
            return True
        try:
            lineage.depth(notice.id, notice.body.parents, self._depths(notice.body.domain))
        except lineage.UnknownParentError as error:
            log.info("%s", error)
            return False
        return True

    def _depths(self, domain: str) -> dict[bytes, int]:
        """Return the depth of every record of a domain whose ancestors are all here."""
        waiting = {
            entry.id: self._notice(entry.envelope).body.parents
            for entry in self._bench.store.shelf.list(domain=domain)
        }
        depths: dict[bytes, int] = {}
        while ready := [i for i, parents in waiting.items() if depths.keys() >= set(parents)]:
            for patch in ready:
                depths[patch] = lineage.depth(patch, waiting.pop(patch), depths)
        return depths

    @staticmethod
    def _notice(envelope: bytes) -> Notice:
        notice = read_envelope(envelope, now_s=0.0)  # on the shelf: verified when it came
        assert notice is not None
        return notice

    def _unpark(self, domain: str) -> None:
        """Let children out of the park whose parents have come."""
        for entry in self._bench.store.shelf.list(state="parked", domain=domain):
            if entry.payload is not None and self._has_parents(self._notice(entry.envelope)):
                self._bench.store.shelf.move(entry.id, "quarantined", reason="its parents are here")

    def blame(self, peer: bytes, code: str) -> None:
        """Remember that a relay delivered bytes that do not verify. Reputation is untouched."""
        self.blamed[peer, code] += 1
