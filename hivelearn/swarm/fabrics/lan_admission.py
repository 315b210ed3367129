"""Which connections are let in when slots are few: every host its fair share. Pure.

Anybody may connect, and keys cost nothing, so a slot is given by *host*, which
does cost something on a local network. While there is room everybody gets one.
When there is none, a newcomer takes the slot of somebody who serves nobody (no
topic shared for a while) and whose host has no fewer slots than the newcomer's,
or of anybody whose host has at least two more; so one machine with a thousand
keys can shut out nobody but itself.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from hivelearn.swarm.limits import TokenBucket

HANDSHAKES_PER_S: Final = 20.0  # of one host
HANDSHAKES_BURST: Final = 128.0
HOSTS_MAX: Final = 4_096  # whose pace is remembered
_NEIGHBOURS: Final = 64  # IPv6 bits that one machine may choose below
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slot(Generic[T]):
    """A connection slot that somebody has."""

    host: str
    since_s: float
    useful: bool  # it shares a topic with us
    who: T


def choose_evicted(newcomer: str, slots: Iterable[Slot[T]], settled_s: float) -> T | None:
    """Return who has to go for a newcomer of a host, or None: then it is full.

    Args:
        newcomer: its host.
        slots: all that there are, taken.
        settled_s: who came later than that still has time to show a use.
    """
    taken = list(slots)
    share = Counter(slot.host for slot in taken)

    def may_go(slot: Slot[T]) -> bool:
        idle = not slot.useful and slot.since_s <= settled_s
        return share[slot.host] - share[newcomer] >= (0 if idle else 2)

    # The useless before the useful, of the greediest host, the longest there.
    candidates = [slot for slot in taken if may_go(slot)]
    last = min(candidates, key=lambda s: (s.useful, -share[s.host], s.since_s), default=None)
    return None if last is None else last.who


class HandshakeRate:
    """How many handshakes each host may begin."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, host: str, now: float) -> bool:
        """Return whether ``host`` may begin one more."""
        bucket = self._buckets.pop(host, None)
        if bucket is None:
            bucket = TokenBucket(HANDSHAKES_PER_S, HANDSHAKES_BURST, HANDSHAKES_BURST, now)
        self._buckets[host] = bucket  # the last heard is the last forgotten
        if len(self._buckets) > HOSTS_MAX:
            del self._buckets[next(iter(self._buckets))]
        return bucket.take(now)


def host_of(address: str) -> str:
    """Return what counts as one host: an IPv4 address, or the /64 network of an IPv6 one."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found), _NEIGHBOURS), strict=False))
