"""One payload on its way: which chunks are missing, and which provider owes them. Without I/O.

A chunk is asked of one provider first. If it has not come after a second, any other that
has nothing better to do is asked for it, too: whoever holds back eight chunks holds back
nobody. The first copy counts, later ones are no lie.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from hivelearn.patch.notice import Notice
from hivelearn.swarm.limits import SwarmLimits


@dataclass(slots=True)
class ProviderStream:
    """An open blob stream to one provider. All times are monotonic seconds."""

    heard_at: float  # its last progress
    busy_since: float  # without a break it has owed us something since
    busy_bytes: int = 0  # of chunks that came since then
    ready: bool = False  # its leaves were right
    asked: dict[int, float] = field(default_factory=dict)  # chunk -> when

    @property
    def owes(self) -> bool:
        """Whether we wait for it."""
        return bool(self.asked) or not self.ready

    def silent(self, limits: SwarmLimits, now: float) -> bool:
        """Return whether it sends nothing, and should."""
        return self.owes and now - self.heard_at > limits.idle_s

    def slow(self, limits: SwarmLimits, now: float) -> bool:
        """Return whether it sends so little that it should make room for others."""
        counted_s = now - self.busy_since - limits.rate_grace_s
        return self.owes and counted_s > 0 and self.busy_bytes < limits.rate_min * counted_s

    def begin(self, now: float) -> None:
        """Count anew: from now on it owes us something."""
        self.heard_at = self.busy_since = now
        self.busy_bytes = 0


@dataclass(slots=True)
class Download:
    """One payload that is wanted."""

    notice: Notice
    trusted: bool = False  # its author is
    providers: dict[bytes, None] = field(default_factory=dict)  # peers that say they have it
    liars: set[bytes] = field(default_factory=set)  # peers never asked again for it
    streams: dict[bytes, ProviderStream] = field(default_factory=dict)
    leaves: tuple[bytes, ...] | None = None  # verified against the signed root
    pending: list[int] | None = None  # missing and asked of nobody, shuffled; None until rehashed
    missing: set[int] = field(default_factory=set)  # not here, or not verified
    writing: set[int] = field(default_factory=set)
    delivered: bool = False  # complete, and the store is taking it
    turns: int = 0  # that it has had
    turn_began: float = 0.0  # monotonic seconds

    @property
    def author(self) -> bytes:
        """The key that is trusted or not."""
        return self.notice.body.author

    @property
    def root(self) -> bytes:
        """What names the partial file: two patches may have one payload."""
        return self.notice.body.payload_root

    @property
    def complete(self) -> bool:
        """Whether every chunk is verified and written, and the store does not know yet."""
        written = self.pending is not None and not self.missing and not self.writing
        return written and not self.delivered

    def rehashed(self, present: frozenset[int], rng: random.Random, now: float) -> None:
        """Take in which chunks the partial file has; the others are to be asked for."""
        self.missing = set(range(len(self.leaves or ()))) - present
        self.pending = sorted(self.missing)
        rng.shuffle(self.pending)
        for stream in self.streams.values():
            stream.begin(now)  # they waited for us

    def ask(self, stream: ProviderStream, limits: SwarmLimits, now: float) -> Iterator[int]:
        """Yield the chunks to ask ``stream`` for now, and note them as asked."""
        while stream.ready and self.pending is not None and len(stream.asked) < limits.in_flight:
            index = self.pending.pop() if self.pending else self._late(stream, limits, now)
            if index is None:
                return
            if not stream.asked:
                stream.begin(now)
            stream.asked[index] = now
            yield index

    def _late(self, stream: ProviderStream, limits: SwarmLimits, now: float) -> int | None:
        """Return a chunk that others were asked for and have not sent in time, or None."""
        for index in sorted(self.missing - stream.asked.keys()):
            asked = [one.asked[index] for one in self.streams.values() if index in one.asked]
            # The first of them counts: or one new asker a second would keep the next one out.
            if asked and now - min(asked) > limits.late_s:
                return index
        return None

    def release(self, peer: bytes, rng: random.Random) -> None:
        """Forget the stream to ``peer``; what nobody else was asked for is pending again."""
        stream = self.streams.pop(peer, None)
        if stream is None or self.pending is None:
            return
        elsewhere = {index for other in self.streams.values() for index in other.asked}
        for index in sorted(self.missing & stream.asked.keys() - elsewhere):
            self.pending.insert(rng.randint(0, len(self.pending)), index)
