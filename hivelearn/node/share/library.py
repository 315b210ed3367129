"""What the swarm may ask of this node's store, and the quarantine at its door.

Called from the swarm's threads. What arrives is unsealed here, by the one door,
and rests on the shelf as *quarantined*: nothing of it is served, merged or even
measured before `node.merge` judges it. What leaves was published or heard in
the very topic in which it is offered.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from hivelearn.errors import PeerError, UsageError
from hivelearn.identity import short_name
from hivelearn.node import own_records, reputation
from hivelearn.node.context import NodeContext
from hivelearn.node.events import PatchArrived, PatchRefused
from hivelearn.node.share.quota import Sandbox
from hivelearn.patch.envelope import Patch, unseal_notice
from hivelearn.patch.notice import Notice
from hivelearn.store.shelf import REFUSED_MAX
from hivelearn.trust.standing import Judgement

TOLD_MAX: Final = 256  # sentences about refusals
log: Final = logging.getLogger("hivelearn.swarm")


class NoRoomError(PeerError):
    """A payload came, and the places for unknown authors were taken meanwhile."""

    fault = "nobody"
    code = "policy.room"
    remedy = "Vouch for its author, or raise sandbox_max or sandbox_max_bytes."


class Library:
    """This node's patches, as `hivelearn.swarm` sees them."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._domains: dict[bytes, str] = {}  # topic -> domain
        self._lock = threading.RLock()
        self._sandbox = Sandbox(context)
        self.refused: deque[str] = deque(maxlen=TOLD_MAX)  # sentences, for reports

    # -- topics -----------------------------------------------------------

    def open(self, topic: bytes, domain: str) -> None:
        """Say which domain a topic is about."""
        with self._lock:
            self._domains[topic] = domain

    def close(self, topic: bytes) -> None:
        """Take, tell and give nothing in a topic any more."""
        with self._lock:
            self._domains.pop(topic, None)

    def publish(self, topic: bytes, patch: Patch) -> None:
        """Offer a patch in a topic from now on, at every later join, too.

        Raises:
            UsageError: somebody else's patch that is not here.
        """
        context = self._context
        with context.store.writing("publish"):
            if context.shelf.get(patch.id) is None:
                if patch.body.author != context.identity.author:
                    raise UsageError(
                        f"patch {patch.id.hex()[:8]} is another author's, and not on this shelf",
                        remedy="Publish own patches; what arrives is passed on by itself.",
                    )
                own_records.shelve(context, patch)  # loaded from a folder
            context.offers.add(patch.id, topic)

    def _topics(self, domain: str) -> list[bytes]:
        with self._lock:
            return [topic for topic, about in self._domains.items() if about == domain]

    def _heard(self, patch: bytes, domain: str) -> None:
        """Note that a patch may be passed on in the topic in which it was heard.

        Of two open topics about one domain (one may be closed by a secret) we are
        not told which it was, and pass it on in neither.
        """
        topics = self._topics(domain)
        if len(topics) == 1 and not self._context.offers.has(patch, topics):
            with self._context.store.writing("swarm"):
                self._context.offers.add(patch, topics[0])

    # -- giving -----------------------------------------------------------

    def heads(self, topic: bytes) -> list[bytes]:
        """Return the ids of all patches that this node offers in a topic."""
        return self._context.offers.heads(topic) if topic in self._domains else []

    def envelope(self, patch: bytes) -> bytes | None:
        """Return the signed envelope of a patch that is offered somewhere now, or None."""
        entry = self._context.shelf.get(patch)
        return entry.envelope if entry and self._offered(patch) else None

    def payload(self, patch: bytes) -> Path | None:
        """Return the file of a complete payload that is offered somewhere now, or None."""
        entry = self._context.shelf.get(patch)
        if entry is None or entry.payload is None or not self._offered(patch):
            return None
        return self._context.blobs.path(entry.payload)

    def _offered(self, patch: bytes) -> bool:
        return self._context.offers.has(patch, set(self._domains))

    # -- taking -----------------------------------------------------------

    def wants(self, notice: Notice, relay: bytes = b"") -> bool:
        """Return whether to fetch what was announced: our base, our topics, room, new.

        Args:
            notice: of the patch.
            relay: device key of the peer that told of it; by default the one that signed it.
        """
        body, context = notice.body, self._context
        if body.base != context.base or not self._topics(body.domain):
            return False  # policy.base: nobody's fault
        if body.device == context.identity.device:
            self._own(notice)
            return False
        if body.payload_bytes > context.config.patch_max_bytes:
            return False
        if not context.shelf.wants(notice.id):
            self._heard(notice.id, body.domain)
            return False
        told_by = relay or body.device
        with self._lock:
            if self._sandbox.room(notice, told_by) is None:
                return False
            self._sandbox.expect(notice, told_by)
        return True

    def _own(self, notice: Notice) -> None:
        """An own record that is not here: this home is an old copy; never reuse its numbers."""
        if self._context.shelf.get(notice.id) is not None:
            return
        current = self._context.identity.certificate.epoch
        if notice.body.certificate.epoch >= current:
            own_records.renew(self._context)
            log.warning("this home is older than its own feed; a new feed epoch has begun")

    def partial(self, notice: Notice) -> Path:
        """Return where a payload may arrive piece by piece, resumed after a crash."""
        return self._context.blobs.partial(notice.body.payload_root.hex())

    def accept(self, notice: Notice, payload: Path) -> None:
        """Unseal a complete payload and put it into quarantine; refuse it with its reason."""
        try:
            unseal_notice(notice, payload.read_bytes())
            self._take(notice, payload)
        except PeerError as error:
            payload.unlink(missing_ok=True)
            self._tell(notice, error.what)
            if error.fault == "author":
                self._refuse(notice)
            raise
        finally:
            with self._lock:
                self._sandbox.arrived(notice)

    def _take(self, notice: Notice, payload: Path) -> None:
        context, name = self._context, notice.body.payload_root.hex()
        store = context.store
        with self._lock, store.writing("swarm"), store.together():
            relay = self._sandbox.relay(notice)
            room = self._sandbox.room(notice, relay)
            if room is None:
                raise NoRoomError("no room left for patches of unknown authors")
            store.blobs.adopt(payload, name)
            entry = own_records.entry_of(notice, "quarantined", name, context.clock())
            arrival = store.shelf.add(replace(entry, relay=relay))
            if arrival == "equivocation":
                self._fault(notice, "harm")
                if not store.shelf.needs_blob(name):
                    store.blobs.delete(name)
                self._tell(notice, "its device signed one number twice")
                return
            self._let_go(room)
            self._heard(notice.id, notice.body.domain)
        arrived = PatchArrived(notice.id, notice.body.author, notice.body.domain)
        context.events.publish(arrived)

    def _let_go(self, patches: Iterable[bytes]) -> None:
        """Take patches off the shelf that make way for others, and their payloads off the disk."""
        store = self._context.store
        for patch in patches:
            gone = store.shelf.move(
                patch,
                "refused",
                verdict=reputation.MADE_WAY.to_json(),
                reason=reputation.MADE_WAY.why,
            )
            assert gone.payload is not None  # it waited
            if not store.shelf.needs_blob(gone.payload):
                store.blobs.delete(gone.payload)

    def _refuse(self, notice: Notice) -> None:
        """Remember what its author signed and nobody can use, so that it is not fetched again."""
        context = self._context
        entry = own_records.entry_of(notice, "refused", None, context.clock())
        with context.store.writing("swarm"), context.store.together():
            if context.shelf.add(entry) != "known":  # a second copy was on its way
                self._fault(notice, "failure")

    def _fault(self, notice: Notice, judgement: Judgement) -> None:
        reputation.count_fault(self._context, notice.body.author, notice.body.domain, judgement)
        self._context.shelf.forget_refused(REFUSED_MAX, reputation.trusted_somewhere(self._context))

    def _tell(self, notice: Notice, what: str) -> None:
        self.refused.append(f"{notice.id.hex()[:8]}: {what}")
        body = notice.body
        self._context.events.publish(PatchRefused(notice.id, body.author, body.domain, what))

    def blame(self, peer: bytes, code: str) -> None:
        """Note that a relay delivered bytes that do not verify. Reputation is untouched."""
        log.info("%s relayed what does not verify: %s", short_name(peer), code)
