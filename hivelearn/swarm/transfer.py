"""Fetching payloads from several peers at once, chunk by verified chunk. Without I/O.

A provider first tells the leaves, which must hash to the signed root; from then
on every chunk is judged alone as it lands, from whomever it comes. A provider
that stays silent loses its turn and its chunks are pending again; one whose
chunk does not verify is not asked again for this payload. What is already in
the partial file counts only after it was hashed again.
"""

import random
from dataclasses import dataclass, field
from typing import assert_never

from hivelearn.patch import chunks
from hivelearn.patch.notice import Notice
from hivelearn.swarm.effects import Blame
from hivelearn.swarm.limits import SwarmLimits
from hivelearn.swarm.transfer_events import (
    ChunkReceived,
    ChunkWritten,
    Deliver,
    DownloadEvent,
    DropStream,
    GiveUp,
    LeavesReceived,
    OpenStream,
    ProviderFound,
    Rehash,
    Rehashed,
    RequestChunk,
    Settled,
    StreamLost,
    Tick,
    TransferEffect,
    TransferEvent,
    Wanted,
    WriteChunk,
)


@dataclass(slots=True)
class ProviderStream:
    """An open blob stream to one provider."""

    heard_at: float  # monotonic seconds: its last progress
    ready: bool = False  # its leaves were right
    asked: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Download:
    """One payload that is wanted."""

    notice: Notice
    providers: dict[bytes, None] = field(default_factory=dict)  # peers that say they have it
    liars: set[bytes] = field(default_factory=set)  # peers never asked again for it
    streams: dict[bytes, ProviderStream] = field(default_factory=dict)
    leaves: tuple[bytes, ...] | None = None  # verified against the signed root
    pending: list[int] | None = None  # chunks to be asked for, shuffled; None until rehashed
    writing: set[int] = field(default_factory=set)
    delivered: bool = False  # complete, and the store is taking it

    def complete(self) -> bool:
        """Return whether every chunk is verified and written."""
        owed = any(stream.asked for stream in self.streams.values())
        return self.pending == [] and not self.writing and not owed and not self.delivered


@dataclass(slots=True)
class Transfer:
    """All payloads that one node fetches."""

    rng: random.Random  # orders the chunks, so that peers can serve each other
    limits: SwarmLimits = field(default_factory=SwarmLimits)
    downloads: dict[bytes, Download] = field(default_factory=dict)  # by patch id, oldest first

    def active(self) -> bool:
        """Return whether any payload is being fetched right now."""
        return any(one.streams or one.writing or one.delivered for one in self.downloads.values())


def step(transfer: Transfer, event: TransferEvent, now: float) -> list[TransferEffect]:
    """Return what follows from ``event`` at ``now`` (monotonic seconds)."""
    effects = _changed(transfer, event, now)
    return effects + _advance(transfer, now)


def _changed(transfer: Transfer, event: TransferEvent, now: float) -> list[TransferEffect]:
    match event:
        case Wanted(notice):
            if len(transfer.downloads) < transfer.limits.downloads_max:  # sync will bring it again
                transfer.downloads.setdefault(notice.id, Download(notice))
            return []
        case Tick():
            return [
                effect
                for download in list(transfer.downloads.values())
                for effect in _drop_silent(transfer, download, now)
            ]
    download = transfer.downloads.get(event.patch)
    if download is None or (download.delivered and not isinstance(event, Settled)):
        return []  # given up or complete: what still comes for it is late, not a lie
    return _downloading(transfer, download, event, now)


def _downloading(
    transfer: Transfer, download: Download, event: DownloadEvent, now: float
) -> list[TransferEffect]:
    match event:
        case LeavesReceived():
            return _leaves(transfer, download, event, now)
        case ChunkReceived():
            return _chunk(transfer, download, event, now)
        case Settled():
            return _forget(transfer, download)
        case ProviderFound(peer):
            if peer not in download.liars:
                download.providers[peer] = None
        case Rehashed(_, present):
            leaves = download.leaves or ()
            download.pending = [i for i in range(len(leaves)) if i not in present]
            transfer.rng.shuffle(download.pending)
            for stream in download.streams.values():
                stream.heard_at = now  # they waited for us
        case ChunkWritten(_, index):
            download.writing.discard(index)
        case StreamLost(peer):
            _release(transfer, download, peer)
        case _:
            assert_never(event)
    return []


def _leaves(
    transfer: Transfer, download: Download, came: LeavesReceived, now: float
) -> list[TransferEffect]:
    peer, leaves, stream = came.peer, came.leaves, download.streams.get(came.peer)
    if stream is None or stream.ready:
        return _convict(transfer, download, peer, "blob.unasked")
    body = download.notice.body
    if len(leaves) != chunks.count(body.payload_bytes) or chunks.root(leaves) != body.payload_root:
        return _convict(transfer, download, peer, "blob.leaves")
    stream.ready, stream.heard_at = True, now
    if download.leaves is not None:
        return []
    download.leaves = leaves
    return [Rehash(download.notice, leaves)]


def _chunk(
    transfer: Transfer, download: Download, came: ChunkReceived, now: float
) -> list[TransferEffect]:
    stream = download.streams.get(came.peer)
    if stream is None or came.index not in stream.asked or download.leaves is None:
        return _convict(transfer, download, came.peer, "blob.unasked")
    if chunks.leaf(came.data) != download.leaves[came.index]:
        return _convict(transfer, download, came.peer, "blob.hash")
    if len(came.data) != _expected_bytes(download.notice, came.index):
        # It is what the root commits to, so the relay is honest: the author
        # signed a size that is not the payload's.
        return [GiveUp(download.notice, "payload.size"), *_forget(transfer, download)]
    stream.asked.discard(came.index)
    stream.heard_at = now
    download.writing.add(came.index)
    return [WriteChunk(download.notice, came.index, came.data)]


def _drop_silent(transfer: Transfer, download: Download, now: float) -> list[TransferEffect]:
    effects: list[TransferEffect] = []
    for peer, stream in list(download.streams.items()):
        owes = bool(stream.asked) or not stream.ready
        if owes and now - stream.heard_at > transfer.limits.idle_s:
            _release(transfer, download, peer)
            effects.append(DropStream(peer, download.notice.id))
    return effects


def _convict(
    transfer: Transfer, download: Download, peer: bytes, code: str
) -> list[TransferEffect]:
    _release(transfer, download, peer)
    download.liars.add(peer)
    return [Blame(peer, code), DropStream(peer, download.notice.id)]


def _release(transfer: Transfer, download: Download, peer: bytes) -> None:
    """Forget ``peer`` as a provider until it says again that it has the payload."""
    download.providers.pop(peer, None)
    stream = download.streams.pop(peer, None)
    if stream is not None and download.pending is not None:
        for index in sorted(stream.asked):
            download.pending.insert(transfer.rng.randint(0, len(download.pending)), index)


def _forget(transfer: Transfer, download: Download) -> list[TransferEffect]:
    del transfer.downloads[download.notice.id]
    return _hang_up(download)


def _hang_up(download: Download) -> list[TransferEffect]:
    peers = list(download.streams)
    download.streams.clear()
    return [DropStream(peer, download.notice.id) for peer in peers]


def _root(download: Download) -> bytes:
    return download.notice.body.payload_root


def _advance(transfer: Transfer, now: float) -> list[TransferEffect]:
    effects: list[TransferEffect] = []
    limits = transfer.limits
    for download in transfer.downloads.values():
        if download.complete():
            # It stays remembered until the store has it, or a sync that runs
            # meanwhile would fetch it a second time.
            download.delivered = True
            effects += [*_hang_up(download), Deliver(download.notice)]
    # Without a living provider a payload holds no place: others may go first.
    places = limits.transfers_max - sum(bool(one.streams) for one in transfer.downloads.values())
    busy = {_root(one) for one in transfer.downloads.values() if one.streams or one.delivered}
    for download in transfer.downloads.values():
        if not download.providers or download.delivered:
            continue
        # Two patches of one payload go one after the other: they share a partial file.
        if not download.streams and (places <= 0 or _root(download) in busy):
            continue
        busy.add(_root(download))
        places -= not download.streams
        for peer in list(download.providers):
            if peer not in download.streams and len(download.streams) < limits.providers_max:
                download.streams[peer] = ProviderStream(now)
                effects.append(OpenStream(peer, download.notice.id))
        effects += _ask_more(download, limits.in_flight, now)
    return effects


def _ask_more(download: Download, in_flight: int, now: float) -> list[TransferEffect]:
    effects: list[TransferEffect] = []
    for peer, stream in download.streams.items():
        while stream.ready and download.pending and len(stream.asked) < in_flight:
            if not stream.asked:
                stream.heard_at = now
            index = download.pending.pop()
            stream.asked.add(index)
            effects.append(RequestChunk(peer, download.notice.id, index))
    return effects


def _expected_bytes(notice: Notice, index: int) -> int:
    """Return how long chunk ``index`` must be by the signed size."""
    return min(chunks.CHUNK_BYTES, notice.body.payload_bytes - index * chunks.CHUNK_BYTES)
