"""Who gets a place, when places are few: every host its fair share. Pure.

Anybody may connect, and keys cost nothing, so a place is given by *host*, which
does cost something on a local network. While there is room everybody gets one.
When there is none, a newcomer takes the place of somebody who serves nobody (no
topic shared for a while) and whose host has no fewer places than the newcomer's,
or of anybody whose host has at least two more; so one machine with a thousand
keys can shut out nobody but itself.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from hivelearn.swarm.limits import Bucket

HANDSHAKES_PER_S: Final = 20.0  # of one host
HANDSHAKES_BURST: Final = 128.0
HOSTS_MAX: Final = 4_096  # whose pace is remembered
_NEIGHBOURS: Final = 64  # IPv6 bits that one machine may choose below
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seat(Generic[T]):
    """A place that somebody has."""

    host: str
    since_s: float
    useful: bool  # it shares a topic with us
    who: T


def make_room(newcomer: str, seats: Iterable[Seat[T]], settled_s: float) -> T | None:
    """Return who has to go for a newcomer of a host, or None: then it is full.

    Args:
        newcomer: its host.
        seats: all of them taken.
        settled_s: who came later than that still has time to show a use.
    """
    taken = list(seats)
    share = Counter(seat.host for seat in taken)

    def may_go(seat: Seat[T]) -> bool:
        idle = not seat.useful and seat.since_s <= settled_s
        return share[seat.host] - share[newcomer] >= (0 if idle else 2)

    # The useless before the useful, of the greediest host, the longest there.
    candidates = [seat for seat in taken if may_go(seat)]
    last = min(candidates, key=lambda s: (s.useful, -share[s.host], s.since_s), default=None)
    return None if last is None else last.who


class Pace:
    """How many handshakes each host may begin."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._buckets: dict[str, Bucket] = {}

    def take(self, host: str, now: float) -> bool:
        """Return whether ``host`` may begin one more."""
        bucket = self._buckets.pop(host, None)
        if bucket is None:
            bucket = Bucket(HANDSHAKES_PER_S, HANDSHAKES_BURST, HANDSHAKES_BURST, now)
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
