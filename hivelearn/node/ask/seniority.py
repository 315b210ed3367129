"""Whose claim comes first where several experts claim a question.

By whose word they serve, then since when they are here: a copy comes after what it
copies, whichever of them was judged first. An author's later expert takes the seat of
the earlier one in its domain, and stands before it: people improve what they made.
"""

from collections.abc import Collection, Mapping, Sequence
from math import inf

from hivelearn.store.generations import Served

Place = tuple[str, Served]  # domain, expert


def by_seniority(
    experts: Sequence[Place], vouched: Collection[bytes], arrived: Mapping[bytes, float]
) -> list[Place]:
    """Return foreign experts, senior first.

    Args:
        experts: all that serve.
        vouched: authors whom the owner vouches for.
        arrived: when each patch came to this node, by its id.
    """

    def came(served: Served) -> float:
        return inf if served.patch is None else arrived.get(served.patch, inf)

    seats: dict[tuple[str, bytes], float] = {}
    for domain, served in experts:
        seat = (domain, served.author)
        seats[seat] = min(came(served), seats.get(seat, inf))

    def seniority(place: Place) -> tuple[bool, float, str, float, str]:
        domain, served = place
        known = served.author in vouched
        return not known, seats[domain, served.author], domain, -came(served), served.payload

    return sorted(experts, key=seniority)
