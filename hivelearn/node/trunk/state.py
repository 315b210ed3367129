"""What a node knows of a domain's rounds: its trunk, and the records of them on the shelf."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from hivelearn.errors import PeerError
from hivelearn.gate.gain import N_MIN, Measure, paired_gain, too_few
from hivelearn.node import measure, reputation
from hivelearn.node.context import NodeContext
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.descent import Descent, root_id, trunk_id
from hivelearn.patch.manifest import Body
from hivelearn.patch.notice import read_envelope
from hivelearn.store.errors import MissingBlobError
from hivelearn.store.shelf import Entry
from hivelearn.store.trunks import Trunk
from hivelearn.trunk.fork import Claim

if TYPE_CHECKING:
    from hivelearn.inference.chat import Example

ROWS_MAX: Final = 64  # corrections that a part is measured on


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a round on the shelf: a part, or somebody's trunk."""

    entry: Entry
    body: Body
    descent: Descent

    @property
    def root(self) -> bytes:
        """The root of its payload."""
        return self.body.payload_root

    @property
    def makes(self) -> bytes:
        """The id of the trunk that it is, if it is one."""
        return trunk_id(self.body.base, self.body.domain, self.body.adapter.rank, self.descent)


class Rounds:
    """The rounds of one domain, as they stand now. The caller holds the writer lock."""

    def __init__(self, context: NodeContext, domain: str) -> None:
        self.context, self.domain = context, domain
        self.base, self.trunks = context.base, context.store.trunks
        self.settings = context.config.rounds

    @cached_property
    def trunk(self) -> Trunk | None:
        """The trunk that the domain goes on from; None is the model itself."""
        return self.trunks.current(self.base, self.domain)

    @property
    def id(self) -> bytes:
        """Its id."""
        return root_id(self.base, self.domain) if self.trunk is None else self.trunk.id

    @property
    def height(self) -> int:
        """Its height; that of the model itself is 0."""
        return 0 if self.trunk is None else self.trunk.height

    @property
    def claim(self) -> Claim:
        """What others see of it."""
        return Claim(self.id, 0 if self.trunk is None else self.trunk.parts)

    @cached_property
    def adapter(self) -> Adapter | None:
        """Its adapter; None is the model itself."""
        return None if self.trunk is None else self.adapter_of(self.trunk)

    def adapter_of(self, trunk: Trunk) -> Adapter:
        """Return the adapter of a trunk whose payload is kept.

        Raises:
            MissingBlobError: the disk has lost it.
        """
        from hivelearn.patch.safetensors_header import read

        assert trunk.payload is not None
        payload = self.context.blobs.read(trunk.payload)
        return Adapter.from_bytes(payload, alpha=float(read(payload).rank), base=self.base)

    def known(self, name: bytes) -> tuple[int, Adapter | None] | None:
        """Return height and adapter of the trunk of this id, or None if it is not kept here."""
        if name == root_id(self.base, self.domain):
            return 0, None
        found = self.trunks.get(self.base, self.domain, name)
        if found is None or found.payload is None:
            return None
        return found.height, self.adapter_of(found)

    def used(self) -> set[bytes]:
        """Return the payload roots of all parts that the trunk was made of, as far as is known."""
        found: set[bytes] = set()
        at = self.trunk
        while at is not None:
            found |= {bytes.fromhex(root) for root in json.loads(at.made_of)}
            at = self.trunks.get(self.base, self.domain, at.onto)
        return found

    @cached_property
    def trusted(self) -> frozenset[bytes]:
        """Authors who are vouched for or proven in the domain, oneself among them."""
        return reputation.trusted(self.context, self.domain) | {self.context.identity.author}

    def records(self) -> list[Record]:
        """Return the records of the domain's rounds that are here, sorted by id."""
        found = []
        for entry in self.context.shelf.list(domain=self.domain, base=self.base):
            if entry.onto is None or entry.payload is None or entry.state == "refused":
                continue
            notice = read_envelope(entry.envelope, now_s=0.0)  # it was in time when it came
            if notice is not None and notice.body.descent is not None:
                found.append(Record(entry, notice.body, notice.body.descent))
        return found

    def parts(self, records: "Iterable[Record]") -> list[Record]:
        """Return the parts onto the trunk as it is now."""
        return [r for r in records if r.descent.onto == self.id and not r.descent.is_trunk]

    def read(self, record: Record) -> Adapter | None:
        """Return the adapter of a record, or None if this disk has lost it."""
        try:
            return self.context.adapters.patch(record.entry.id).adapter
        except (PeerError, MissingBlobError):
            return None

    @cached_property
    def rows(self) -> "list[Example]":
        """Own corrections to measure trunks by: those held out, or all where they are too few.

        All were told by this node's owner; where they were trained on too, a part of others
        has not seen them, and it is others' parts that are judged here.
        """
        held = measure.holdout(self.context, self.domain)
        if len(held) < N_MIN:
            every = self.context.journal.list(self.domain)
            held = list(measure.fitting(self.context, every).rows)
        return held[:ROWS_MAX]

    @cached_property
    def held_out(self) -> bool:
        """Whether none of :attr:`rows` is trained on."""
        return len(measure.holdout(self.context, self.domain)) >= N_MIN

    def losses(self, adapter: Adapter | None) -> list[float]:
        """Return the losses of :attr:`rows` with an adapter."""
        return measure.losses(self.context, self.rows, adapter)

    def loss(self, adapter: Adapter | None) -> float:
        """Return their mean, nats per answer token; 0 without any."""
        losses = self.losses(adapter)
        return sum(losses) / max(1, len(losses))

    def gain(self, before: Adapter | None, after: Adapter | None) -> Measure:
        """Return the gain of one adapter against another, on the own corrections."""
        if len(self.rows) < N_MIN:
            return too_few(len(self.rows))
        seed = self.context.config.seed
        return paired_gain(self.losses(before), self.losses(after), seed=seed)

    def said(self) -> str:
        """Return a digest of the corrections as they are now."""
        ids = sorted(c.id for c in self.context.journal.list(self.domain))
        return hashlib.sha256("\n".join(ids).encode()).hexdigest()

    def retire(self, record: Record, why: str) -> None:
        """Take a record out of the way, with its payload unless something still needs it."""
        store = self.context.store
        store.shelf.retire(record.entry.id, why)
        name = record.entry.payload
        if name is not None and not store.shelf.needs_blob(name):
            store.blobs.delete(name)
