"""The state of one payload on its way: who has it, who owes what, what is missing."""

from dataclasses import dataclass, field

from hivelearn.patch.chunks import CHUNK_BYTES
from hivelearn.patch.notice import Notice


@dataclass(slots=True)
class Source:
    """An open blob stream to one provider."""

    heard_at: float  # monotonic seconds: its last progress
    ready: bool = False  # its leaves were right
    asked: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Blob:
    """One payload that is wanted."""

    notice: Notice
    holders: dict[bytes, None] = field(default_factory=dict)  # peers that say they have it
    liars: set[bytes] = field(default_factory=set)  # peers never asked again for it
    sources: dict[bytes, Source] = field(default_factory=dict)
    leaves: tuple[bytes, ...] | None = None  # verified against the signed root
    pot: list[int] | None = None  # chunks to be asked for, shuffled; None until rehashed
    writing: set[int] = field(default_factory=set)
    handed_over: bool = False  # complete, and the library is taking it

    def complete(self) -> bool:
        """Return whether every chunk is verified and written."""
        owed = any(source.asked for source in self.sources.values())
        return self.pot == [] and not self.writing and not owed and not self.handed_over


def expected_bytes(notice: Notice, index: int) -> int:
    """Return how long chunk ``index`` must be by the signed size."""
    return min(CHUNK_BYTES, notice.body.payload_bytes - index * CHUNK_BYTES)
