"""Every bound of the swarm protocol by name, and the token buckets that pace peers."""

from dataclasses import dataclass, field
from typing import Final

KEYS_MAX: Final = 4_096  # whose pace is remembered


@dataclass(frozen=True, slots=True)
class SwarmLimits:
    """What one node grants to others and asks of them. All are per node unless said."""

    posts_per_s: float = 20.0  # gossip messages of one peer that we look at
    posts_burst: float = 200.0
    forged_cost: float = 20.0  # tokens that a message with a bad signature costs its relay
    notices_per_s: float = 16.0  # envelopes of one peer that a sync may have us verify
    notices_burst: float = 256.0
    syncs_per_s: float = 1.0  # sessions of one peer that we answer
    syncs_burst: float = 64.0  # ... at once: every topic that it joins asks anew
    seen_max: int = 65_536  # announcements remembered
    downloads_max: int = 1_024  # wanted payloads remembered
    strangers_max: int = 512  # of those: of authors whom this node does not trust
    stranger_max: int = 128  # of those: of one such author
    transfers_max: int = 4  # payloads fetched at the same time
    reserved: int = 2  # of those places: for trusted authors alone
    turn_s: float = 10.0  # after so long a payload gives its place to others, if there are any
    providers_max: int = 8  # peers asked for one payload at the same time; its author's beside them
    in_flight: int = 8  # requests open at one provider: 2 MiB
    late_s: float = 1.0  # a chunk that has not come by then is asked of others, too
    idle_s: float = 5.0  # a provider that sends nothing for so long is dropped
    rate_min: int = 64 * 1024  # bytes per second; who sends less makes room when others wait
    rate_grace_s: float = 4.0  # not counted: the first chunk has to travel
    backoff_s: float = 5.0  # who kept us waiting once is not asked for so long
    backoff_max_s: float = 600.0  # ... and never for longer, however often it did
    forgiven_bytes: int = 1 << 20  # that make up for one time
    sync_every_s: float = 60.0  # anti-entropy with each peer
    tick_s: float = 1.0
    domains_max: int = 1_024  # names heard in the lobby

    @property
    def strangers_places(self) -> int:
        """How many payloads of strangers are fetched at the same time."""
        return max(1, self.transfers_max - self.reserved)


@dataclass(slots=True)
class TokenBucket:
    """A token bucket: ``rate`` per second, at most ``burst``; one per peer."""

    rate: float
    burst: float
    tokens: float
    at: float

    def left(self, now: float) -> int:
        """Return how many tokens are there, and never less than none."""
        self._refill(now)
        return max(0, int(self.tokens))

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Return whether ``cost`` tokens were there; if so they are gone."""
        self._refill(now)
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def fine(self, now: float, cost: float) -> None:
        """Take ``cost`` tokens even if they are not there: a debt of at most ``burst``."""
        self._refill(now)
        self.tokens = max(-self.burst, self.tokens - cost)

    def _refill(self, now: float) -> None:
        self.tokens = min(self.burst, self.tokens + max(0.0, now - self.at) * self.rate)
        self.at = now


@dataclass(slots=True)
class KeyedBuckets:
    """A bucket for each key, full at first; the key heard of longest ago is forgotten first.

    A peer that leaves is not forgotten, or it would come back for a full one.
    """

    rate: float
    burst: float
    kept: dict[object, TokenBucket] = field(default_factory=dict)

    def of(self, key: object, now: float) -> TokenBucket:
        """Return the bucket of ``key``."""
        bucket = self.kept.pop(key, None)
        if bucket is None:
            bucket = TokenBucket(self.rate, self.burst, self.burst, now)
        self.kept[key] = bucket
        if len(self.kept) > KEYS_MAX:
            del self.kept[next(iter(self.kept))]
        return bucket
