"""Whose claim comes first where several experts claim a question.

By whose word they serve, then since when they are here: a copy comes after what it
copies, whichever of them was judged first. That an author's later expert answers what the
earlier one would have answered is the router's to see: it knows what each of them claims.
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

    def seniority(place: Place) -> tuple[bool, float, str, str]:
        domain, served = place
        return served.author not in vouched, came(served), domain, served.payload

    return sorted(experts, key=seniority)
