"""What happens to the payloads on their way, and what ``transfer`` wants done. Frozen."""

from dataclasses import dataclass
from typing import TypeAlias

from hivelearn.patch.notice import Notice
from hivelearn.swarm.effects import Blame

# -- what happened ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """The node wants this payload; ``trusted`` says that it trusts its author."""

    notice: Notice
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class ProviderFound:
    """``peer`` has the payload of ``patch``."""

    peer: bytes
    patch: bytes


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A peer is gone, and has nothing for us any more."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class LeavesReceived:
    """``peer`` told the leaf hashes."""

    peer: bytes
    patch: bytes
    leaves: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rehashed:
    """The partial file was hashed: the chunks of these indices are right."""

    patch: bytes
    present: frozenset[int]


@dataclass(frozen=True, slots=True)
class ChunkReceived:
    """``peer`` sent a chunk."""

    peer: bytes
    patch: bytes
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ChunkWritten:
    """A chunk is in the partial file."""

    patch: bytes
    index: int


@dataclass(frozen=True, slots=True)
class StreamLost:
    """The blob stream to ``peer`` ended, was refused or broke."""

    peer: bytes
    patch: bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """The store has it, or the node cannot go on (disk full, refused): forget it."""

    patch: bytes


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


DownloadEvent: TypeAlias = (
    ProviderFound | LeavesReceived | Rehashed | ChunkReceived | ChunkWritten | StreamLost | Settled
)
TransferEvent: TypeAlias = Wanted | PeerLeft | Tick | DownloadEvent

# -- what is to be done -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Open a blob stream to ``peer`` and ask for the leaves of ``patch``."""

    peer: bytes
    patch: bytes


@dataclass(frozen=True, slots=True)
class RequestChunk:
    """Ask ``peer`` for one chunk, on its blob stream."""

    peer: bytes
    patch: bytes
    index: int


@dataclass(frozen=True, slots=True)
class DropStream:
    """Reset the blob stream to ``peer``."""

    peer: bytes
    patch: bytes


@dataclass(frozen=True, slots=True)
class Rehash:
    """Hash the partial file and tell which chunks are right already (``Rehashed``)."""

    notice: Notice
    leaves: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class WriteChunk:
    """Write a verified chunk into the partial file (then ``ChunkWritten``)."""

    notice: Notice
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give the store the payload, every chunk of which is verified and written."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Note that this payload can never be completed; ``code`` says why."""

    notice: Notice
    code: str


FileEffect: TypeAlias = Rehash | WriteChunk | Deliver | GiveUp
TransferEffect: TypeAlias = OpenStream | RequestChunk | DropStream | Blame | FileEffect
