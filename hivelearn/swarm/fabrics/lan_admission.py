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

HANDSHAKES_PER_S: Final = 20.0  # that one host may begin
HANDSHAKES_BURST: Final = 128.0
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


def host_of(address: str) -> str:
    """Return what counts as one host: an IPv4 address, or the /64 network of an IPv6 one."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found), _NEIGHBOURS), strict=False))
