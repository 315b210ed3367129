"""How much each author may move one merge, and how much stays with what is there.

A known author's share is the least of three: their part of √rank · reliability
· gain, 20 %, and twice their rank. Caps are absolute. What they leave over goes
to the incumbent and is **never** handed out again: renormalised caps let
attackers reach 71 % (docs/design.md, "Trust").

Unknown authors share one seat of 5 %, taken by the best of them. One seat,
because any rule that gives each newcomer a little gives a thousand newcomers a
thousand times as much.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from hivelearn.errors import UsageError
from hivelearn.trust.rank import rank
from hivelearn.trust.standing import Standing, Vouch

KNOWN_RANK: Final = 0.002  # a friend's friend counts as vouched while this much trust arrives

Known = Literal["vouched", "proven", "unknown"]


@dataclass(frozen=True, slots=True)
class Caps:
    """The exposure of one merge. Lower is safer, and slower to learn from new people."""

    one: float = 0.20  # no author moves a merge by more
    per_rank: float = 2.0  # nor by more than this times their rank
    unknown: float = 0.05  # all unknown authors together; 0 is the strict mode
    proven: float = 0.20  # all who are proven and nobody vouched for, together

    def __post_init__(self) -> None:
        for cap in (self.one, self.unknown, self.proven):
            if not 0 <= cap <= 1:
                raise UsageError(f"a cap of {cap} is no share", remedy="Give caps between 0 and 1.")
        if not 0 <= self.per_rank < math.inf:
            raise UsageError(f"per_rank = {self.per_rank}", remedy="Give a number such as 2.")


@dataclass(frozen=True, slots=True)
class Weights:
    """The shares of one merge; with the incumbent's they sum to 1."""

    shares: dict[bytes, float]  # author -> share, by author; several patches divide it
    incumbent: float  # what stays with the state before the merge
    why: dict[bytes, str]  # author -> one sentence about their share


@dataclass(frozen=True, slots=True)
class _Author:
    key: bytes
    known: Known
    rank: float
    score: float  # reliability · gain, nats
    beginner: bool  # nothing proven yet and no second harm, vouched for or not


def authors_weights(
    gains: Mapping[bytes, float],
    standings: Mapping[bytes, Standing],
    vouches: Iterable[Vouch],
    *,
    roots: Collection[bytes],
    caps: Caps | None = None,
) -> Weights:
    """Return the share of every author in ``gains``, and the incumbent's.

    Args:
        gains: author to measured gain of their patches, nats per answer token:
            the lower bound, so that noise earns nothing. Below 0 counts as 0.
        standings: own experience; an absent author has none.
        vouches: all that are known, own ones and published ones.
        roots: one's own public key.
        caps: the exposure one accepts; the defaults if None.

    Raises:
        UsageError: a gain is not finite, or no root is given.
    """
    caps = caps or Caps()
    for gain in gains.values():
        if not math.isfinite(gain):
            raise UsageError(f"a gain of {gain}", remedy="Leave out what could not be measured.")
    authors = _authors(gains, standings, list(vouches), roots)
    shares, why = _known_shares(authors, caps)
    for key, seat in _seats(authors, caps.unknown).items():
        if seat > shares.get(key, 0.0):  # a vouch must never cost its author the seat
            shares[key] = seat
            why[key] = f"holds the seat of {caps.unknown:.0%} for authors without proof"
    full = {author.key: shares.get(author.key, 0.0) for author in authors}
    return Weights(
        shares=full,
        incumbent=max(0.0, 1.0 - math.fsum(full.values())),
        why={a.key: f"{a.known.capitalize()}; {why.get(a.key, _nothing(a))}." for a in authors},
    )


def known(
    authors: Iterable[bytes],
    standings: Mapping[bytes, Standing],
    vouches: Iterable[Vouch],
    *,
    roots: Collection[bytes],
) -> dict[bytes, Known]:
    """Return for each author whether a person, their work, or nothing speaks for them.

    Args:
        authors: whom to ask about.
        standings: own experience; an absent author has none.
        vouches: all that are known, own ones and published ones.
        roots: one's own public key.
    """
    said = list(vouches)
    own_words = {vouch.author for vouch in said if vouch.by in roots}
    reached = rank(roots, said, standings, proofs=False)
    found: dict[bytes, Known] = {}
    for key in authors:
        standing = standings.get(key, Standing(key))
        heard = (key in own_words and not standing.withdrawn) or reached.get(key, 0) >= KNOWN_RANK
        found[key] = "vouched" if heard else "proven" if standing.proven else "unknown"
    return found


def _authors(
    gains: Mapping[bytes, float],
    standings: Mapping[bytes, Standing],
    vouches: list[Vouch],
    roots: Collection[bytes],
) -> list[_Author]:
    ranks = rank(roots, vouches, standings)
    kinds = known(gains, standings, vouches, roots=roots)
    found, reliability = [], {}
    for key in sorted(gains):  # sorted: equal merges must weigh equally
        standing = standings.get(key, Standing(key))
        if standing.evidence not in reliability:  # a thousand strangers have the same none
            reliability[standing.evidence] = standing.evidence.reliability
        found.append(
            _Author(
                key=key,
                known=kinds[key],
                rank=ranks.get(key, 0.0),
                score=reliability[standing.evidence] * max(0.0, gains[key]),
                beginner=not (standing.proven or standing.withdrawn),
            )
        )
    return found


def _known_shares(
    authors: list[_Author], caps: Caps
) -> tuple[dict[bytes, float], dict[bytes, str]]:
    pulls = {a.key: math.sqrt(a.rank) * a.score for a in authors if a.known != "unknown"}
    total = math.fsum(pulls.values())
    shares: dict[bytes, float] = {}
    why: dict[bytes, str] = {}
    for author in authors:
        if pulls.get(author.key, 0.0) > 0:
            # The seat of the unknown is set aside, taken or not: who arrives there moves nobody.
            bounds = (
                (pulls[author.key] / total * (1 - caps.unknown), "by rank, reliability and gain"),
                (caps.one, f"as much as one author may have ({caps.one:.0%})"),
                (caps.per_rank * author.rank, f"{caps.per_rank:g} times the rank"),
            )
            shares[author.key], why[author.key] = min(bounds)
    strangers = [a.key for a in authors if a.known == "proven" and a.key in shares]
    together = math.fsum(shares[key] for key in strangers)
    for key in strangers if together > caps.proven else ():
        shares[key] *= caps.proven / together
        why[key] = f"part of the {caps.proven:.0%} for all whom only their work speaks for"
    return shares, why


def _seats(authors: list[_Author], seat: float) -> dict[bytes, float]:
    """Return who sits on the seat for those without proof: the best score, ties share it."""
    beginners = [author for author in authors if author.beginner and author.score > 0]
    best = max((author.score for author in beginners), default=0.0)
    # An exact tie means the same patch twice: then it does not matter who carries it.
    first = [author.key for author in beginners if author.score == best]
    return {key: seat / len(first) for key in first}


def _nothing(author: _Author) -> str:
    if author.score == 0:
        return "nothing, as no gain was measured"
    if not author.beginner:
        return "nothing, as it did harm more than once"
    return "nothing, as the seat for authors without proof went to a better one"
