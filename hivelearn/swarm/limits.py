"""Every bound of the swarm protocol by name, and the token bucket that paces peers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SwarmLimits:
    """What one node grants to others and asks of them. All are per node unless said."""

    posts_per_s: float = 20.0  # gossip messages of one peer that we look at
    posts_burst: float = 200.0
    forged_cost: float = 20.0  # tokens that a message with a bad signature costs its relay
    seen_max: int = 65_536  # announcements remembered
    downloads_max: int = 1_024  # wanted payloads remembered
    transfers_max: int = 4  # payloads fetched at the same time
    providers_max: int = 8  # peers asked for one payload at the same time
    in_flight: int = 8  # requests open at one provider: 2 MiB
    idle_s: float = 5.0  # a provider that sends nothing for so long is dropped
    sync_every_s: float = 60.0  # anti-entropy with each peer
    tick_s: float = 1.0
    domains_max: int = 1_024  # names heard in the lobby


@dataclass(slots=True)
class TokenBucket:
    """A token bucket: ``rate`` per second, at most ``burst``; one per peer."""

    rate: float
    burst: float
    tokens: float
    at: float

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
