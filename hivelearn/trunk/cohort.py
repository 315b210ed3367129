"""Whose parts make the next trunk, and how much each moves it. Numbers in, factors out.

Among those whom a person vouches for all count alike: each teaches what the others do not
know, and who has gained more today knows it already. Who is proven by work alone, and who
is unknown, move it together by no more than a share. Nobody gets what another loses: a
part that is late, or larger than its cohort, moves less, and the trunk stays for the rest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from hivelearn.patch.descent import ONE
from hivelearn.trust.weights import Caps, Known

STALE: Final = 0.5  # a part counts so much less for each trunk that came since it began
LARGE: Final = 2.0  # times the cohort's median norm; what is larger moves as much as that
STALE_MAX: Final = 3  # trunks; what is older says what is known by now


@dataclass(frozen=True, slots=True)
class Part:
    """What is known of one part."""

    root: bytes  # of its payload
    author: bytes
    known: Known  # the node's owner is vouched for
    stale: int  # how many trunks came since the one that it was trained onto
    norm: float  # Frobenius norm of what it adds to that trunk


def newest(parts: Sequence[Part]) -> list[Part]:
    """Return each author's newest part that is not too old, sorted by root."""
    by_author: dict[bytes, Part] = {}
    for part in parts:
        known = by_author.get(part.author)
        if part.stale <= STALE_MAX and (
            known is None or (part.stale, part.root) < (known.stale, known.root)
        ):
            by_author[part.author] = part
    return sorted(by_author.values(), key=lambda part: part.root)


def factors(parts: Sequence[Part], caps: Caps | None = None) -> dict[bytes, int]:
    """Return how much each part moves the trunk, in millionths, by payload root.

    Args:
        parts: one an author, as :func:`newest` returns them.
        caps: on those whom nobody vouches for, as of a merge.

    Whole numbers, rounded down: every node that sees the same parts signs the same factors.
    """
    weights = _weights(parts, caps or Caps())
    whole = math.fsum(weights.values())
    if not whole:
        return {}
    usual = median(part.norm for part in parts)
    found = {}
    for part in parts:
        late = STALE**part.stale
        clipped = min(1.0, LARGE * usual / part.norm) if part.norm > 0 else 0.0
        factor = int(ONE * (weights[part.root] / whole) * late * clipped)
        if factor:
            found[part.root] = factor
    return found


def _weights(parts: Sequence[Part], caps: Caps) -> dict[bytes, float]:
    """Return the weight of each part before it is known how late and how large it is."""
    count = {kind: sum(part.known == kind for part in parts) for kind in ("vouched", "proven")}
    each: dict[Known, float] = {"vouched": 1.0}
    known = float(count["vouched"])
    each["proven"] = _capped(known, count["proven"], caps.proven)
    known += each["proven"] * count["proven"]
    unknown = sum(part.known == "unknown" for part in parts)
    each["unknown"] = _capped(known, unknown, caps.unknown)
    return {part.root: each[part.known] for part in parts}


def _capped(others: float, count: int, share: float) -> float:
    """Return the weight of each of ``count`` so that all have ``share`` beside ``others``."""
    if not count:
        return 0.0
    return min(1.0, others * share / (1.0 - share) / count) if share < 1.0 else 1.0
