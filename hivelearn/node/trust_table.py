"""Whom this node believes and why, as a table for people; reads only.

A weight depends on what a patch is measured to gain, so the one shown here is what
each author would get of a merge to which all of them sent equally good patches, in
the domain where that is most.
"""

import json
import time
from dataclasses import asdict, dataclass
from typing import Final

from hivelearn.identity import full_name, short_name
from hivelearn.node import reputation
from hivelearn.node.context import NodeContext
from hivelearn.report.table import Table
from hivelearn.store.reputation import VouchRecord
from hivelearn.trust.standing import Standing
from hivelearn.trust.weights import Known, Weights, known

ANYWHERE: Final = ""  # a domain in which nobody has done anything
EQUAL_GAIN: Final = 1.0  # nats; only ratios matter
NOBODY: Final = "nobody is known yet: `hivelearn vouch KEY` for somebody you know"


@dataclass(frozen=True, slots=True)
class TrustRow:
    """One author."""

    author: str  # short name, for eyes only
    key: str  # hl1…, what `vouch` and `unvouch` take
    standing: Known  # "vouched", "proven" (in a domain) or "unknown"
    weight: float  # share of a merge, were all equally good, in [0, 1]
    why: str  # of the weight, in words
    successes: dict[str, int]  # domain -> judged successes since the last harm
    harms: int
    note: str = ""  # of the vouch
    vouched_s: float | None = None  # seconds since 1970; None: nobody here ever vouched
    withdrawn_s: float | None = None  # when the vouch was taken back


@dataclass(frozen=True, slots=True, repr=False)
class TrustTable:
    """Everybody for whom a vouch or a judgement is on record, the heaviest first."""

    rows: tuple[TrustRow, ...]

    def __str__(self) -> str:
        """Return the table for a terminal, and below it the keys."""
        if not self.rows:
            return NOBODY
        keys = (f"{row.author}  {row.key}" for row in self.rows)
        return "\n".join([str(self._table()), "", *keys])

    __repr__ = __str__  # what a notebook or a shell shows is for people

    def _repr_html_(self) -> str:
        return self._table()._repr_html_() if self.rows else f"<p>{NOBODY}</p>"

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))

    def _table(self) -> Table:
        return Table.of(
            [
                {
                    "author": row.author,
                    "standing": row.standing,
                    "weight": f"{row.weight:.1%}",
                    "successes": ", ".join(f"{n} {d}" for d, n in row.successes.items()) or 0,
                    "harms": row.harms,
                    "vouch": _vouch(row),
                    "why": row.why,
                }
                for row in self.rows
            ]
        )


def read_trust(context: NodeContext) -> TrustTable:
    """Return whom the node on ``context`` believes."""
    keys = context.known_identity()
    if keys is None:  # a home without keys has met nobody
        return TrustTable(())
    me, kept = keys.author, context.store.reputation
    said = {v.author: v for v in kept.vouches(withdrawn=True)}
    domains = sorted({row.domain for row in kept.evidence()})
    seen = {domain: reputation.standings(context, domain) for domain in domains or [ANYWHERE]}
    authors = sorted({author for found in seen.values() for author in found}.union(said) - {me})
    views = [_view(context, domain, authors) for domain in seen]
    rows = [_row(author, views, said.get(author)) for author in authors]
    return TrustTable(tuple(sorted(rows, key=lambda row: (-row.weight, row.key))))


@dataclass(frozen=True, slots=True)
class _View:
    """How a node sees all authors in one domain."""

    domain: str
    standings: dict[bytes, Standing]
    kinds: dict[bytes, Known]
    weights: Weights


def _view(context: NodeContext, domain: str, authors: list[bytes]) -> _View:
    standings, said = reputation.standings(context, domain), reputation.vouches(context)
    return _View(
        domain,
        standings,
        known(authors, standings, said, roots={context.identity.author}),
        reputation.weights(context, domain, dict.fromkeys(authors, EQUAL_GAIN)),
    )


def _row(author: bytes, views: list[_View], vouch: VouchRecord | None) -> TrustRow:
    """Return the row of one author, with standing and weight where they stand best."""
    best = max(views, key=lambda v: (v.kinds[author] != "unknown", v.weights.shares[author]))
    found = {view.domain: view.standings.get(author, Standing(author)) for view in views}
    return TrustRow(
        author=short_name(author),
        key=full_name(author),
        standing=best.kinds[author],
        weight=best.weights.shares[author],
        why=best.weights.why[author],
        successes={domain: s.successes for domain, s in found.items() if s.successes},
        harms=found[best.domain].harms,
        note=vouch.note if vouch else "",
        vouched_s=vouch.at_s if vouch else None,
        withdrawn_s=vouch.withdrawn_s if vouch else None,
    )


def _vouch(row: TrustRow) -> str:
    """Return what is known of the vouch, in words."""
    if row.vouched_s is None:
        return "none"
    if row.withdrawn_s is not None:
        return f"withdrawn {_day(row.withdrawn_s)}"
    return f"{_day(row.vouched_s)}: {row.note}" if row.note else _day(row.vouched_s)


def _day(time_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time_s))
