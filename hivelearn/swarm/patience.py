"""Who kept us waiting waits in turn, and bytes that come take it back. Without I/O.

Silence costs a peer nothing, so it costs it the next turns: five seconds after the first
time, twice as long after each further one, ten minutes at most. Every megabyte that comes
makes up for one time, and ten minutes without a new one make up for all. Relays and authors
are remembered alike, by their keys.
"""

from dataclasses import dataclass, field
from typing import Final

from hivelearn.swarm.limits import SwarmLimits

KEPT_MAX: Final = 4_096  # keys remembered; whoever was heard of longest ago is forgotten first


@dataclass(slots=True)
class Record:
    """What is remembered of one key."""

    times: int = 0  # it kept us waiting, and has not made up for it
    until: float = 0.0  # monotonic seconds: it is not asked before
    given: int = 0  # verified bytes that came, ever
    owed: int = 0  # bytes that still make up for the last time


@dataclass(slots=True)
class Patience:
    """How much of it each key has left."""

    limits: SwarmLimits = field(default_factory=SwarmLimits)
    records: dict[bytes, Record] = field(default_factory=dict)

    def lose(self, key: bytes, now: float) -> None:
        """Note that ``key`` kept us waiting until ``now``."""
        record, limits = self._record(key), self.limits
        if now > record.until + limits.backoff_max_s:
            record.times = 0
        # A power of two without end would be no float any more.
        wait_s = limits.backoff_s * 2 ** min(record.times, 30)
        record.times, record.owed = record.times + 1, limits.forgiven_bytes
        record.until = now + min(limits.backoff_max_s, wait_s)

    def regain(self, key: bytes, nbytes: int) -> None:
        """Note that ``nbytes`` verified bytes came from ``key``, or of what it signed."""
        record = self._record(key)
        record.given += nbytes
        record.owed -= nbytes
        while record.times and record.owed <= 0:
            record.times -= 1
            record.owed += self.limits.forgiven_bytes
            record.until = 0.0

    def waits(self, key: bytes, now: float) -> bool:
        """Return whether ``key`` is not to be asked yet."""
        record = self.records.get(key)
        return record is not None and now < record.until

    def order(self, key: bytes) -> tuple[int, bool]:
        """Return a sort key: whoever kept us waiting least first, of those who gave something."""
        record = self.records.get(key, Record())
        return record.times, not record.given

    def _record(self, key: bytes) -> Record:
        record = self.records[key] = self.records.pop(key, Record())
        if len(self.records) > KEPT_MAX:
            del self.records[next(iter(self.records))]
        return record
