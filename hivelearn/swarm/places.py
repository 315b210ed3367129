"""Which payloads are fetched now, and which give way. Without I/O.

A node fetches a few payloads at a time, and whoever has a place keeps others waiting. So
places are given in turns, and never all of them to strangers:

- some places are for payloads of trusted authors alone; who is trusted, the caller says;
- of strangers each author gets one place before any gets two, and who had fewer turns goes
  first, so that sixty-three promises of one key are one turn in the time of another's one;
- a payload gives way when others wait and its turn is over, or nobody sends enough of it;
- two records of one payload take turns, too, and a stranger's makes way for a trusted one's at
  once: what was fetched of it is there for both;
- a relay or a strange author that kept us waiting is not waited for (``patience``).

While nobody waits, everybody may be as slow as they are.
"""

from collections.abc import Iterable

from hivelearn.swarm.download import Download
from hivelearn.swarm.limits import SwarmLimits
from hivelearn.swarm.patience import Patience


def askable(download: Download, patience: Patience, now: float) -> list[bytes]:
    """Return the providers to open streams to, in order; those that have one are not among them.

    The author's own device comes first: whatever others pretend to have, it has.
    """
    free = [
        peer
        for peer in download.providers
        if peer not in download.streams and not patience.waits(peer, now)
    ]
    own = download.notice.body.device
    return sorted(free, key=lambda peer: (peer != own, *patience.order(peer)))


def waiting(downloads: Iterable[Download], patience: Patience, now: float) -> list[Download]:
    """Return the payloads that could be fetched and have no place."""
    every = list(downloads)
    busy = {one.root for one in every if one.streams or one.delivered}
    # Two patches of one payload go one after the other: they share a partial file.
    return [one for one in every if one.root not in busy and _could(one, patience, now)]


def _could(one: Download, patience: Patience, now: float) -> bool:
    """Return whether somebody may be asked for a payload that nobody is asked for."""
    return (
        bool(one.providers)
        and not one.streams
        and not one.delivered
        and (one.trusted or not patience.waits(one.author, now))
        and not all(patience.waits(peer, now) for peer in one.providers)
    )


def seat(
    downloads: Iterable[Download], patience: Patience, limits: SwarmLimits, now: float
) -> list[Download]:
    """Return the payloads that get the places which are free."""
    every = list(downloads)
    seated = [one for one in every if one.streams]
    if len(seated) >= limits.transfers_max:
        return []
    queue, chosen = waiting(every, patience, now), list[Download]()
    strangers = sum(not one.trusted for one in seated)
    while queue and len(seated) < limits.transfers_max:
        held = [one.author for one in seated]
        first = min(queue, key=lambda one: _precedence(one, held))
        if not first.trusted and strangers >= limits.strangers_places:
            break  # trusted ones sort first: nobody else is left
        strangers += not first.trusted
        seated.append(first)
        chosen.append(first)
        queue = [one for one in queue if one.root != first.root]
    return chosen


def _precedence(download: Download, held: list[bytes]) -> tuple[bool, int, int]:
    theirs = 0 if download.trusted else held.count(download.author)
    return not download.trusted, theirs, download.turns


def _had_less(one: Download, other: Download) -> bool:
    return one.trusted and one.turns < other.turns


def over(
    downloads: Iterable[Download], patience: Patience, limits: SwarmLimits, now: float
) -> list[Download]:
    """Return the payloads that give their places to others."""
    every = list(downloads)
    queue, leaving = waiting(every, patience, now), list[Download]()
    seated = sorted(
        (one for one in every if one.streams), key=lambda one: (one.trusted, one.turn_began)
    )
    for one in seated:
        twins = [each for each in every if each.root == one.root and _could(each, patience, now)]
        if not one.trusted and any(each.trusted for each in twins):
            leaving.append(one)
            continue
        slow = all(stream.slow(limits, now) for stream in one.streams.values())
        if not slow and now - one.turn_began < limits.turn_s:
            continue
        # A stranger never takes a place from somebody trusted. Payloads of one trusted author
        # take turns as well: a relay that drips old ones must not hold up what was said since.
        heirs = (
            each
            for each in (*queue, *twins)
            if (each.trusted or not one.trusted)
            and (slow or each.author != one.author or _had_less(each, one))
        )
        heir = next(heirs, None)
        if heir is not None:
            queue = [each for each in queue if each is not heir]
            leaving.append(one)
    return leaving
