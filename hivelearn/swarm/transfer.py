"""Fetching payloads from several peers at once, chunk by verified chunk. Without I/O.

A provider first tells the leaves, which must hash to the signed root; from then
on every chunk is judged alone as it lands, from whomever it comes. A provider
that stays silent loses its turn and its chunks return to the pot; one whose
chunk does not verify is not asked again for this payload. What is already in
the partial file counts only after it was hashed again.
"""

import random
from dataclasses import dataclass, field
from typing import TypeAlias

from hivelearn.patch import chunks
from hivelearn.patch.notice import Notice
from hivelearn.swarm.blob import Blob, Source, expected_bytes
from hivelearn.swarm.effects import (
    Blame,
    Complete,
    Drop,
    Effect,
    GiveUp,
    Open,
    Rehash,
    Request,
    Write,
)
from hivelearn.swarm.limits import Limits


@dataclass(frozen=True, slots=True)
class Wanted:
    """The node wants this payload."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class Provider:
    """``peer`` has the payload of ``patch``."""

    peer: bytes
    patch: bytes


@dataclass(frozen=True, slots=True)
class LeavesCame:
    """``peer`` told the leaf hashes."""

    peer: bytes
    patch: bytes
    leaves: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Present:
    """The partial file was hashed: these chunks are right."""

    patch: bytes
    indices: frozenset[int]


@dataclass(frozen=True, slots=True)
class ChunkCame:
    """``peer`` sent a chunk."""

    peer: bytes
    patch: bytes
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Written:
    """A chunk is in the partial file."""

    patch: bytes
    index: int


@dataclass(frozen=True, slots=True)
class StreamLost:
    """The blob stream to ``peer`` ended, was refused or broke."""

    peer: bytes
    patch: bytes


@dataclass(frozen=True, slots=True)
class Over:
    """The library has it, or the node cannot go on (disk full, refused): forget it."""

    patch: bytes


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event: TypeAlias = (
    Wanted | Provider | LeavesCame | Present | ChunkCame | Written | StreamLost | Over | Tick
)


@dataclass(slots=True)
class Transfer:
    """All payloads that one node fetches."""

    rng: random.Random  # orders the chunks, so that peers can serve each other
    limits: Limits = field(default_factory=Limits)
    blobs: dict[bytes, Blob] = field(default_factory=dict)  # by patch id, oldest first

    def active(self) -> bool:
        """Return whether any payload is being fetched right now."""
        return any(blob.sources or blob.writing or blob.handed_over for blob in self.blobs.values())


def step(transfer: Transfer, event: Event, now: float) -> list[Effect]:
    """Return what follows from ``event`` at ``now`` (monotonic seconds)."""
    effects = _changed(transfer, event, now)
    return effects + _advance(transfer, now)


def _changed(transfer: Transfer, event: Event, now: float) -> list[Effect]:
    match event:
        case Wanted(notice):
            if len(transfer.blobs) < transfer.limits.blobs_max:  # sync will bring it again
                transfer.blobs.setdefault(notice.id, Blob(notice))
            return []
        case Tick():
            return [
                effect
                for blob in list(transfer.blobs.values())
                for effect in _drop_silent(transfer, blob, now)
            ]
    blob = transfer.blobs.get(event.patch)
    if blob is None or (blob.handed_over and not isinstance(event, Over)):
        return []  # given up or complete: what still comes for it is late, not a lie
    match event:
        case LeavesCame():
            return _leaves(transfer, blob, event, now)
        case ChunkCame():
            return _chunk(transfer, blob, event, now)
        case Over():
            return _forget(transfer, blob)
    _note(transfer, blob, event, now)
    return []


def _note(
    transfer: Transfer, blob: Blob, event: Provider | Present | Written | StreamLost, now: float
) -> None:
    match event:
        case Provider(peer):
            if peer not in blob.liars:
                blob.holders[peer] = None
        case Present(_, indices):
            blob.pot = [i for i in range(len(blob.leaves or ())) if i not in indices]
            transfer.rng.shuffle(blob.pot)
            for source in blob.sources.values():
                source.heard_at = now  # they waited for us
        case Written(_, index):
            blob.writing.discard(index)
        case StreamLost(peer):
            _release(transfer, blob, peer)


def _leaves(transfer: Transfer, blob: Blob, came: LeavesCame, now: float) -> list[Effect]:
    peer, leaves, source = came.peer, came.leaves, blob.sources.get(came.peer)
    if source is None or source.ready:
        return _convict(transfer, blob, peer, "blob.unasked")
    body = blob.notice.body
    if len(leaves) != chunks.count(body.payload_bytes) or chunks.root(leaves) != body.payload_root:
        return _convict(transfer, blob, peer, "blob.leaves")
    source.ready, source.heard_at = True, now
    if blob.leaves is not None:
        return []
    blob.leaves = leaves
    return [Rehash(blob.notice, leaves)]


def _chunk(transfer: Transfer, blob: Blob, came: ChunkCame, now: float) -> list[Effect]:
    source = blob.sources.get(came.peer)
    if source is None or came.index not in source.asked or blob.leaves is None:
        return _convict(transfer, blob, came.peer, "blob.unasked")
    if chunks.leaf(came.data) != blob.leaves[came.index]:
        return _convict(transfer, blob, came.peer, "blob.hash")
    if len(came.data) != expected_bytes(blob.notice, came.index):
        # It is what the root commits to, so the relay is honest: the author
        # signed a size that is not the payload's.
        return [GiveUp(blob.notice, "payload.size"), *_forget(transfer, blob)]
    source.asked.discard(came.index)
    source.heard_at = now
    blob.writing.add(came.index)
    return [Write(blob.notice, came.index, came.data)]


def _drop_silent(transfer: Transfer, blob: Blob, now: float) -> list[Effect]:
    effects: list[Effect] = []
    for peer, source in list(blob.sources.items()):
        owes = bool(source.asked) or not source.ready
        if owes and now - source.heard_at > transfer.limits.idle_s:
            _release(transfer, blob, peer)
            effects.append(Drop(peer, blob.notice.id))
    return effects


def _convict(transfer: Transfer, blob: Blob, peer: bytes, code: str) -> list[Effect]:
    _release(transfer, blob, peer)
    blob.liars.add(peer)
    return [Blame(peer, code), Drop(peer, blob.notice.id)]


def _release(transfer: Transfer, blob: Blob, peer: bytes) -> None:
    """Forget ``peer`` as a provider until it says again that it has the payload."""
    blob.holders.pop(peer, None)
    source = blob.sources.pop(peer, None)
    if source is not None and blob.pot is not None:
        for index in sorted(source.asked):
            blob.pot.insert(transfer.rng.randint(0, len(blob.pot)), index)


def _forget(transfer: Transfer, blob: Blob) -> list[Effect]:
    del transfer.blobs[blob.notice.id]
    return _hang_up(blob)


def _hang_up(blob: Blob) -> list[Effect]:
    peers = list(blob.sources)
    blob.sources.clear()
    return [Drop(peer, blob.notice.id) for peer in peers]


def _root(blob: Blob) -> bytes:
    return blob.notice.body.payload_root


def _advance(transfer: Transfer, now: float) -> list[Effect]:
    effects: list[Effect] = []
    limits = transfer.limits
    for blob in transfer.blobs.values():
        if blob.complete():
            # It stays remembered until the library has it, or a sync that runs
            # meanwhile would fetch it a second time.
            blob.handed_over = True
            effects += [*_hang_up(blob), Complete(blob.notice)]
    # Without a living provider a payload holds no place: others may go first.
    places = limits.transfers_max - sum(bool(one.sources) for one in transfer.blobs.values())
    busy = {_root(one) for one in transfer.blobs.values() if one.sources or one.handed_over}
    for blob in transfer.blobs.values():
        if not blob.holders or blob.handed_over:
            continue
        # Two patches of one payload go one after the other: they share a partial file.
        if not blob.sources and (places <= 0 or _root(blob) in busy):
            continue
        busy.add(_root(blob))
        places -= not blob.sources
        for peer in list(blob.holders):
            if peer not in blob.sources and len(blob.sources) < limits.providers_max:
                blob.sources[peer] = Source(now)
                effects.append(Open(peer, blob.notice.id))
        effects += _ask_more(blob, limits.in_flight, now)
    return effects


def _ask_more(blob: Blob, in_flight: int, now: float) -> list[Effect]:
    effects: list[Effect] = []
    for peer, source in blob.sources.items():
        while source.ready and blob.pot and len(source.asked) < in_flight:
            if not source.asked:
                source.heard_at = now
            index = blob.pot.pop()
            source.asked.add(index)
            effects.append(Request(peer, blob.notice.id, index))
    return effects
