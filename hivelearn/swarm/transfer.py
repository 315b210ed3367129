"""Fetching payloads from several peers at once, chunk by verified chunk. Without I/O.

A provider first tells the leaves, which must hash to the signed root; from then
on every chunk is judged alone as it lands, from whomever it comes. A provider
that stays silent loses its turn (``patience``) and its chunks are pending again; one
whose chunk does not verify is not asked again for this payload. What is already in
the partial file counts only after it was hashed again. Who is fetched first, and
who makes room, is decided in ``places``.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from hivelearn.patch import chunks
from hivelearn.patch.notice import Notice
from hivelearn.swarm import places
from hivelearn.swarm.download import Download, ProviderStream
from hivelearn.swarm.effects import Blame
from hivelearn.swarm.limits import SwarmLimits
from hivelearn.swarm.patience import Patience
from hivelearn.swarm.transfer_events import (
    ChunkReceived,
    ChunkWritten,
    Deliver,
    DownloadEvent,
    DropStream,
    GiveUp,
    LeavesReceived,
    OpenStream,
    PeerLeft,
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
class Transfer:
    """All payloads that one node fetches."""

    rng: random.Random  # orders the chunks, so that peers can serve each other
    limits: SwarmLimits = field(default_factory=SwarmLimits)
    downloads: dict[bytes, Download] = field(default_factory=dict)  # by patch id, oldest first
    patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        """Begin with all the patience there is."""
        self.patience = Patience(self.limits)

    def active(self) -> bool:
        """Return whether any payload is being fetched right now."""
        return any(one.streams or one.writing or one.delivered for one in self.downloads.values())


def step(transfer: Transfer, event: TransferEvent, now: float) -> list[TransferEffect]:
    """Return what follows from ``event`` at ``now`` (monotonic seconds)."""
    effects = _changed(transfer, event, now)
    return [] if effects is None else effects + _advance(transfer, now)


def _changed(transfer: Transfer, event: TransferEvent, now: float) -> list[TransferEffect] | None:
    """Return what follows at once, or None where the event is about nothing that we fetch."""
    match event:
        case Wanted(notice, trusted):
            _want(transfer, notice, trusted=trusted)
            return []
        case PeerLeft(peer):
            return _let_go(transfer, peer)
        case Tick():
            return _pass_time(transfer, now)
    download = transfer.downloads.get(event.patch)
    if download is None or (download.delivered and not isinstance(event, Settled)):
        return None  # given up or complete: what still comes for it is late, not a lie
    return _downloading(transfer, download, event, now)


def _want(transfer: Transfer, notice: Notice, *, trusted: bool) -> None:
    """Remember a payload; if there is no room, sync will bring it again."""
    limits, downloads = transfer.limits, transfer.downloads
    if notice.id in downloads:
        downloads[notice.id].trusted = trusted
        return
    strangers = [one for one in downloads.values() if not one.trusted]
    theirs = [one for one in strangers if one.author == notice.body.author]
    room = len(downloads) < limits.downloads_max or _make_room(transfer, strangers, any_of=trusted)
    if not trusted:
        room = room and (len(theirs) < limits.stranger_max or _make_room(transfer, theirs))
        room = room and (len(strangers) < limits.strangers_max or _make_room(transfer, strangers))
    if room:
        downloads[notice.id] = Download(notice, trusted)


def _make_room(transfer: Transfer, among: list[Download], *, any_of: bool = False) -> bool:
    """Forget the oldest of these that nobody has, or that had a turn and did not come.

    Args:
        transfer: all payloads.
        among: which may have to go; none that has a place does.
        any_of: if there is none such, the oldest goes all the same.
    """
    idle = [one for one in among if not one.streams and not one.delivered and not one.writing]
    spent = [one for one in idle if one.turns or not one.providers] or (idle if any_of else [])
    if spent:
        transfer.downloads.pop(spent[0].notice.id, None)
    return bool(spent)


def _let_go(transfer: Transfer, peer: bytes) -> list[TransferEffect] | None:
    """Forget a peer that is gone as a provider; its streams end by themselves."""
    for download in transfer.downloads.values():
        download.providers.pop(peer, None)
    return None


def _pass_time(transfer: Transfer, now: float) -> list[TransferEffect]:
    effects: list[TransferEffect] = []
    limits, patience = transfer.limits, transfer.patience
    for download in list(transfer.downloads.values()):
        streams = download.streams.items()
        dropped = [peer for peer, stream in streams if stream.silent(limits, now)]
        if len(streams) >= limits.providers_max and places.askable(download, patience, now):
            dropped += [peer for peer, one in streams if one.slow(limits, now)]
        effects += _leave(transfer, download, dict.fromkeys(dropped), now)
    for download in places.over(transfer.downloads.values(), patience, limits, now):
        slow = [peer for peer, one in download.streams.items() if one.slow(limits, now)]
        effects += _leave(transfer, download, slow, now)
        effects += _hang_up(transfer, download)
    return effects


def _leave(
    transfer: Transfer, download: Download, peers: Iterable[bytes], now: float
) -> list[TransferEffect]:
    """Drop the streams of ``peers``, who kept us waiting."""
    effects: list[TransferEffect] = []
    for peer in peers:
        download.release(peer, transfer.rng)
        transfer.patience.lose(peer, now)
        effects.append(DropStream(peer, download.notice.id))
    # A trusted author does not answer for relays; a stranger has nobody else to speak for him.
    alone = not download.streams and not places.askable(download, transfer.patience, now)
    if effects and alone and not download.trusted:
        transfer.patience.lose(download.author, now)
    return effects


def _downloading(
    transfer: Transfer, download: Download, event: DownloadEvent, now: float
) -> list[TransferEffect] | None:
    match event:
        case LeavesReceived():
            return _leaves(transfer, download, event, now)
        case ChunkReceived():
            return _chunk(transfer, download, event, now)
        case Settled():
            return _forget(transfer, download)
        case ProviderFound(peer):
            if peer in download.liars or peer in download.providers:
                return None
            download.providers[peer] = None
        case Rehashed(_, present):
            download.rehashed(present, transfer.rng, now)
        case ChunkWritten(_, index):
            download.writing.discard(index)
        case StreamLost(peer):
            _lose(transfer, download, peer, now)
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
    stream.ready = True
    stream.begin(now)
    if download.leaves is not None:
        return []
    download.leaves = leaves
    return [Rehash(download.notice, leaves)]


def _chunk(
    transfer: Transfer, download: Download, came: ChunkReceived, now: float
) -> list[TransferEffect]:
    peer, stream = came.peer, download.streams.get(came.peer)
    if stream is None or came.index not in stream.asked or download.leaves is None:
        return _convict(transfer, download, peer, "blob.unasked")
    if chunks.leaf(came.data) != download.leaves[came.index]:
        return _convict(transfer, download, peer, "blob.hash")
    if len(came.data) != _expected_bytes(download.notice, came.index):
        # It is what the root commits to, so the relay is honest: the author
        # signed a size that is not the payload's.
        return [GiveUp(download.notice, "payload.size"), *_forget(transfer, download)]
    del stream.asked[came.index]
    stream.heard_at = now
    stream.busy_bytes += len(came.data)
    for key in (peer, download.author):
        transfer.patience.regain(key, len(came.data))
    if came.index not in download.missing:
        return []  # another was quicker
    download.missing.discard(came.index)
    download.writing.add(came.index)
    return [WriteChunk(download.notice, came.index, came.data)]


def _convict(
    transfer: Transfer, download: Download, peer: bytes, code: str
) -> list[TransferEffect]:
    download.release(peer, transfer.rng)
    download.providers.pop(peer, None)
    download.liars.add(peer)
    return [Blame(peer, code), DropStream(peer, download.notice.id)]


def _lose(transfer: Transfer, download: Download, peer: bytes, now: float) -> None:
    """Forget ``peer`` as a provider until it says again that it has the payload."""
    stream = download.streams.get(peer)
    if stream is not None and stream.owes and now - stream.heard_at > transfer.limits.late_s:
        transfer.patience.lose(peer, now)  # it went without a word, after it had let us wait
    download.providers.pop(peer, None)
    download.release(peer, transfer.rng)


def _forget(transfer: Transfer, download: Download) -> list[TransferEffect]:
    del transfer.downloads[download.notice.id]
    return _hang_up(transfer, download)


def _hang_up(transfer: Transfer, download: Download) -> list[TransferEffect]:
    peers = list(download.streams)
    for peer in peers:
        download.release(peer, transfer.rng)
    return [DropStream(peer, download.notice.id) for peer in peers]


def _advance(transfer: Transfer, now: float) -> list[TransferEffect]:
    effects: list[TransferEffect] = []
    limits, patience, downloads = transfer.limits, transfer.patience, transfer.downloads
    for download in downloads.values():
        if download.complete:
            # It stays remembered until the store has it, or a sync that runs
            # meanwhile would fetch it a second time.
            download.delivered = True
            effects += [*_hang_up(transfer, download), Deliver(download.notice)]
    for download in places.seat(downloads.values(), patience, limits, now):
        download.turns, download.turn_began = download.turns + 1, now
        effects += _open_streams(download, patience, limits, now)
    for download in downloads.values():
        if download.streams:
            effects += _open_streams(download, patience, limits, now)
            effects += _ask_more(download, limits, now)
    return effects


def _open_streams(
    download: Download, patience: Patience, limits: SwarmLimits, now: float
) -> list[TransferEffect]:
    effects: list[TransferEffect] = []
    own = download.notice.body.device
    wide = own in download.streams or own not in download.providers
    if len(download.streams) >= limits.providers_max and wide:
        return effects
    for peer in places.askable(download, patience, now):
        if len(download.streams) < limits.providers_max + (peer == own):
            download.streams[peer] = ProviderStream(now, now)
            effects.append(OpenStream(peer, download.notice.id))
    return effects


def _ask_more(download: Download, limits: SwarmLimits, now: float) -> list[TransferEffect]:
    return [
        RequestChunk(peer, download.notice.id, index)
        for peer, stream in download.streams.items()
        for index in download.ask(stream, limits, now)
    ]


def _expected_bytes(notice: Notice, index: int) -> int:
    """Return how long chunk ``index`` must be by the signed size."""
    return min(chunks.CHUNK_BYTES, notice.body.payload_bytes - index * chunks.CHUNK_BYTES)
