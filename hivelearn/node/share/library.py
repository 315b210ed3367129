"""What the swarm may ask of this node's store, and the quarantine at its door.

Called from the swarm's threads. What arrives is unsealed here, by the one door,
and rests on the shelf as *quarantined*: nothing of it is served, merged or even
measured before `node.merge` judges it. What leaves was published or heard in
the very topic in which it is offered, and goes only to peers in that topic.
"""

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hivelearn.errors import PeerError, UsageError
from hivelearn.identity import short_name
from hivelearn.node import foreign_feeds, own_records, reputation
from hivelearn.node.context import NodeContext
from hivelearn.node.events import PatchArrived, PatchRefused
from hivelearn.node.share.quota import Sandbox
from hivelearn.patch.envelope import Patch, unseal_notice
from hivelearn.patch.notice import Notice
from hivelearn.store.shelf import REFUSED_MAX, Entry
from hivelearn.swarm import topics as swarm_topics

OPEN: Final = swarm_topics.swarm()
TOLD_MAX: Final = 256  # sentences about refusals
log: Final = logging.getLogger("hivelearn.swarm")


class NoRoomError(PeerError):
    """A payload came, and the places for unknown authors were taken meanwhile."""

    fault = "nobody"
    code = "policy.room"
    remedy = "Vouch for its author, or raise sandbox_max or sandbox_max_bytes."


class ForkedError(PeerError):
    """A payload came, and another record with its number was here meanwhile."""

    fault = "nobody"
    code = "feed.fork"
    remedy = "Nothing to do here: its author begins a new epoch, and what it says there is taken."


@dataclass(frozen=True, slots=True)
class _Topic:
    """What a joined topic is about, and who meets there."""

    domain: str
    swarm: bytes


def _partial_name(swarm: bytes, root: bytes) -> str:
    """Return where a payload arrives: what a closed swarm has sent is no part of another's.

    Else a record that names the same payload in the open would be given what is lying here.
    """
    if swarm == OPEN:
        return root.hex()
    return hashlib.sha256(b"hivelearn/partial/1\0" + swarm + root).hexdigest()


class Library:
    """This node's patches, as `hivelearn.swarm` sees them."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._topics: dict[bytes, _Topic] = {}
        self._heard_in: dict[bytes, tuple[bytes, bytes]] = {}  # patch on its way -> topic, swarm
        self._lock = threading.RLock()
        self._sandbox = Sandbox(context)
        self.refused: deque[str] = deque(maxlen=TOLD_MAX)  # sentences, for reports

    # -- topics -----------------------------------------------------------

    def open(self, topic: bytes, domain: str, swarm: bytes = OPEN) -> None:
        """Say which domain a topic is about, and which swarm meets there."""
        self._context.home.make()  # what arrives has to lie somewhere
        with self._lock:
            self._topics[topic] = _Topic(domain, swarm)

    def close(self, topic: bytes) -> None:
        """Take, tell and give nothing in a topic any more."""
        with self._lock:
            self._topics.pop(topic, None)

    def publish(self, topic: bytes, patch: Patch) -> Patch:
        """Offer a patch in a topic from now on, at every later join, too.

        Returns:
            The patch as others in this swarm see it. An own one stands in the feed of the
            swarm there, under an id of its own.

        Raises:
            UsageError: somebody else's patch that was not heard in this topic.
        """
        context = self._context
        with context.store.writing("publish"):
            if patch.body.author == context.identity.author:
                told = own_records.for_swarm(context, patch, self._topics[topic].swarm)
                context.offers.add(told.id, topic)
                return told
            if not context.offers.has(patch.id, {topic}):
                raise UsageError(
                    f"patch {patch.id.hex()[:8]} is another author's, and was not heard here",
                    remedy="Publish own patches; what arrives in a swarm is passed on there by "
                    "itself, and nowhere else.",
                )
        return patch

    # -- giving -----------------------------------------------------------

    def heads(self, topic: bytes) -> list[bytes]:
        """Return the ids of all patches that this node offers in a topic."""
        return self._context.offers.heads(topic) if topic in self._topics else []

    def envelope(self, patch: bytes, topics: Collection[bytes]) -> bytes | None:
        """Return the signed envelope of a patch that is offered in one of ``topics``, or None."""
        entry = self._offered(patch, topics)
        return None if entry is None else entry.envelope

    def payload(self, patch: bytes, topics: Collection[bytes]) -> Path | None:
        """Return the file of a complete payload that is offered in one of ``topics``, or None."""
        entry = self._offered(patch, topics)
        if entry is None or entry.payload is None:
            return None
        return self._context.blobs.path(entry.payload)

    def _offered(self, patch: bytes, topics: Collection[bytes]) -> Entry | None:
        open_now = [topic for topic in topics if topic in self._topics]
        return self._context.shelf.get(patch) if self._context.offers.has(patch, open_now) else None

    # -- taking -----------------------------------------------------------

    def wants(self, topic: bytes, notice: Notice, relay: bytes = b"") -> bool:
        """Return whether to fetch what was heard in a topic: our base, its domain, room, new.

        Args:
            topic: where it was heard.
            notice: of the patch.
            relay: device key of the peer that told of it; by default the one that signed it.
        """
        body, context = notice.body, self._context
        about = self._topics.get(topic)
        if about is None or body.base != context.base or body.domain != about.domain:
            return False  # policy.base: nobody's fault
        if body.device == context.identity.device:
            own_records.meet(context, notice)
            return False
        if body.payload_bytes > context.config.patch_max_bytes:
            return False
        if not context.shelf.wants(notice.id) or foreign_feeds.refuses(context, notice):
            return False
        if body.descent is not None and body.domain not in context.journal.counts():
            return False  # rounds are for those who teach; others wait for what comes of them
        told_by = relay or body.device
        with self._lock:
            file = _partial_name(about.swarm, body.payload_root)
            if not self._sandbox.expect(notice, told_by, file):
                return False
            self._heard_in.setdefault(notice.id, (topic, about.swarm))
        return True

    def trusts(self, author: bytes) -> bool:
        """Return whether payloads of this author need not wait for those of strangers."""
        return author in reputation.trusted_somewhere(self._context)

    def partial(self, notice: Notice) -> Path:
        """Return where a payload may arrive piece by piece, resumed after a crash."""
        _, swarm = self._heard_in.get(notice.id, (b"", OPEN))
        return self._context.blobs.partial(_partial_name(swarm, notice.body.payload_root))

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
                self._heard_in.pop(notice.id, None)

    def _take(self, notice: Notice, payload: Path) -> None:
        context, name = self._context, notice.body.payload_root.hex()
        store = context.store
        with self._lock, store.writing("swarm"), store.together():
            if foreign_feeds.refuses(context, notice):  # its twin came meanwhile
                raise ForkedError("its feed is not one history there")
            relay = self._sandbox.relay(notice)
            room = self._sandbox.room(notice, relay)
            if room is None:
                raise NoRoomError("no room left for patches of unknown authors")
            store.blobs.adopt(payload, name)
            entry = own_records.entry_of(notice, "quarantined", name, context.clock())
            store.shelf.add(replace(entry, relay=relay))
            store.offers.add(notice.id, self._heard_in[notice.id][0])
            self._let_go(room)
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
            if context.shelf.add(entry):  # else a second copy was on its way
                body = notice.body
                reputation.count_fault(context, body.author, body.domain, "failure")
                trusted = reputation.trusted_somewhere(context)
                context.shelf.forget_refused(REFUSED_MAX, trusted)

    def _tell(self, notice: Notice, what: str) -> None:
        self.refused.append(f"{notice.id.hex()[:8]}: {what}")
        body = notice.body
        self._context.events.publish(PatchRefused(notice.id, body.author, body.domain, what))

    def blame(self, peer: bytes, code: str) -> None:
        """Note that a relay delivered bytes that do not verify. Reputation is untouched."""
        log.info("%s relayed what does not verify: %s", short_name(peer), code)
