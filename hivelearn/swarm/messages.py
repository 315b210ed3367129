"""The wire: frozen records that cannot exist malformed, and their one encoding.

A frame is one canonical map, {0: kind, 1: first field, 2: second, ...}. The
version stands in the protocol ids below, so a later version meets nobody by
mistake; a kind of a later minor version decodes to None, which is nobody's fault.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, TypeAlias

from hivelearn import codec
from hivelearn.errors import PeerError
from hivelearn.patch.chunks import CHUNK_BYTES
from hivelearn.patch.manifest import DOMAIN
from hivelearn.patch.notice import ENVELOPE_MAX_BYTES
from hivelearn.swarm.fabric import FRAME_MAX_BYTES
from hivelearn.swarm.topics import NONCE_BYTES, TAG_BYTES, TAGS_MAX

SYNC_PROTOCOL: Final = "hivelearn/sync/1"
BLOB_PROTOCOL: Final = "hivelearn/blob/1"

ID_BYTES: Final = 32
HEADS_MAX: Final = 16_384  # patch ids of one topic that we tell: 512 KiB
WANTS_MAX: Final = 64  # envelopes asked at once: at most 4 MiB in the answer
NAMES_MAX: Final = 256  # domains in one lobby message
LEAVES_MAX: Final = 2_048  # 512 MiB in chunks of 256 KiB
KIND: Final = 0
_CRITICAL_KEYS: Final = 64


class MalformedMessageError(PeerError):
    """A frame that no version of the protocol can mean."""

    code = "frame.malformed"


def _require(condition: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise MalformedMessageError(f"message refused: {what}")


def _is_bytes(value: object, size: int) -> bool:
    return type(value) is bytes and len(value) == size


def _require_ids(ids: Any, most: int, size: int = ID_BYTES) -> None:
    _require(type(ids) is tuple and len(ids) <= most, f"more than {most} entries or no list")
    _require(all(_is_bytes(one, size) for one in ids), f"an entry is not {size} bytes")
    # One answer for each entry: what stands there 256 times would be answered 256 times.
    _require(len(set(ids)) == len(ids), "an entry stands twice")


@dataclass(frozen=True, slots=True)
class Announce:
    """Somebody signed this patch; ``held`` says that I have its payload."""

    kind: ClassVar[int] = 1
    envelope: bytes
    held: bool

    def __post_init__(self) -> None:
        _require(
            type(self.envelope) is bytes and 0 < len(self.envelope) <= ENVELOPE_MAX_BYTES,
            "envelope is empty or too large",
        )
        _require(type(self.held) is bool, "held is not true or false")


@dataclass(frozen=True, slots=True)
class Have:
    """I have fetched this patch's payload since; ask me too."""

    kind: ClassVar[int] = 2
    patch: bytes

    def __post_init__(self) -> None:
        _require(_is_bytes(self.patch, ID_BYTES), "patch id is not 32 bytes")


@dataclass(frozen=True, slots=True)
class Domains:
    """Names of domains that I have seen (lobby only); a hint, proof of nothing."""

    kind: ClassVar[int] = 3
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _require(type(self.names) is tuple and len(self.names) <= NAMES_MAX, "too many names")
        _require(
            all(type(name) is str and DOMAIN.fullmatch(name) for name in self.names),
            "a name is no domain",
        )


@dataclass(frozen=True, slots=True)
class Greeting:
    """My share of the session's salt."""

    kind: ClassVar[int] = 4
    nonce: bytes

    def __post_init__(self) -> None:
        _require(_is_bytes(self.nonce, NONCE_BYTES), "nonce is not 32 bytes")


@dataclass(frozen=True, slots=True)
class AskHeads:
    """What do you hold in the topics of these tags?"""

    kind: ClassVar[int] = 5
    tags: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _require_ids(self.tags, TAGS_MAX, TAG_BYTES)


@dataclass(frozen=True, slots=True)
class Heads:
    """The patches that I hold in one topic which we share."""

    kind: ClassVar[int] = 6
    tag: bytes
    patches: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _require(_is_bytes(self.tag, TAG_BYTES), "tag is not 32 bytes")
        _require_ids(self.patches, HEADS_MAX)


@dataclass(frozen=True, slots=True)
class Want:
    """Send me the envelopes of these patches."""

    kind: ClassVar[int] = 7
    patches: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _require_ids(self.patches, WANTS_MAX)


@dataclass(frozen=True, slots=True)
class Done:
    """That was my whole answer to your last question."""

    kind: ClassVar[int] = 8


@dataclass(frozen=True, slots=True)
class Fetch:
    """First frame of a blob stream: which payload; the answer is Leaves or Absent."""

    kind: ClassVar[int] = 9
    patch: bytes

    def __post_init__(self) -> None:
        _require(_is_bytes(self.patch, ID_BYTES), "patch id is not 32 bytes")


@dataclass(frozen=True, slots=True)
class Leaves:
    """The leaf hashes of the payload, joined: 32 bytes for each chunk."""

    kind: ClassVar[int] = 10
    joined: bytes

    def __post_init__(self) -> None:
        _require(type(self.joined) is bytes, "leaves are not bytes")
        _require(
            len(self.joined) % ID_BYTES == 0 and len(self.joined) <= LEAVES_MAX * ID_BYTES,
            f"{len(self.joined)} bytes of leaves",
        )


@dataclass(frozen=True, slots=True)
class Absent:
    """I do not have that payload."""

    kind: ClassVar[int] = 11


@dataclass(frozen=True, slots=True)
class AskChunk:
    """Send me this chunk of the stream's payload."""

    kind: ClassVar[int] = 12
    index: int

    def __post_init__(self) -> None:
        _require(type(self.index) is int and 0 <= self.index < LEAVES_MAX, "index out of range")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Here it is."""

    kind: ClassVar[int] = 13
    index: int
    data: bytes

    def __post_init__(self) -> None:
        _require(type(self.index) is int and 0 <= self.index < LEAVES_MAX, "index out of range")
        _require(
            type(self.data) is bytes and 0 < len(self.data) <= CHUNK_BYTES, "chunk size is wrong"
        )


WireMessage: TypeAlias = (
    Announce
    | Have
    | Domains
    | Greeting
    | AskHeads
    | Heads
    | Want
    | Done
    | Fetch
    | Leaves
    | Absent
    | AskChunk
    | Chunk
)
_RECORDS: Final[dict[int, type[WireMessage]]] = {
    record.kind: record
    for record in (
        Announce,
        Have,
        Domains,
        Greeting,
        AskHeads,
        Heads,
        Want,
        Done,
        Fetch,
        Leaves,
        Absent,
        AskChunk,
        Chunk,
    )
}


def encode(message: WireMessage) -> bytes:
    """Return the one frame that means ``message``."""
    value: dict[int, codec.Value] = {KIND: message.kind}
    for key, field in enumerate(fields(message), start=1):
        item = getattr(message, field.name)
        value[key] = list(item) if isinstance(item, tuple) else item
    return codec.encode(value)


def decode(frame: bytes) -> WireMessage | None:
    """Return the message in ``frame``, or None for a kind of a later version.

    Raises:
        MalformedMessageError: whatever is wrong with it. No other error escapes.
    """
    _require(len(frame) <= FRAME_MAX_BYTES, f"frame of {len(frame)} bytes")
    try:
        value = codec.decode(frame)
    except codec.CodecError as error:
        raise MalformedMessageError(f"message refused: {error.what}") from None
    if type(value) is not dict or type(value.get(KIND)) is not int:
        raise MalformedMessageError("message refused: no kind")
    record = _RECORDS.get(value.pop(KIND))  # type: ignore[arg-type]
    if record is None:
        return None  # a newer peer must not lose standing for being newer
    # Keys from 64 on are a later version's extras; all others must be exactly ours.
    known = {key: item for key, item in value.items() if key < _CRITICAL_KEYS}
    _require(list(known) == list(range(1, len(fields(record)) + 1)), "fields are missing or extra")
    items: list[Any] = [tuple(item) if type(item) is list else item for item in known.values()]
    return record(*items)  # which judges every one of them
