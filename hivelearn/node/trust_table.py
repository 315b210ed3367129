"""Whom this node believes and why, as a table for people; reads only.

A weight depends on what a patch is measured to gain, so the one shown here is what
each author would get of a merge to which all of them sent equally good patches.
"""

import json
import time
from dataclasses import asdict, dataclass
from typing import Final

from hivelearn.identity import full_name, short_name
from hivelearn.node import reputation
from hivelearn.node.context import NodeContext
from hivelearn.report.table import Table
from hivelearn.trust.standing import Standing
from hivelearn.trust.weights import Known, known

EQUAL_GAIN: Final = 1.0  # nats; only ratios matter
NOBODY: Final = "nobody is known yet: `hivelearn vouch KEY` for somebody you know"


@dataclass(frozen=True, slots=True)
class TrustRow:
    """One author."""

    author: str  # short name, for eyes only
    key: str  # hl1…, what `vouch` and `unvouch` take
    standing: Known  # "vouched", "proven" or "unknown"
    weight: float  # share of a merge, were all equally good, in [0, 1]
    why: str  # of the weight, in words
    successes: int  # judged successes since the last harm
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
                    "successes": row.successes,
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
    me = keys.author
    standings, vouches = reputation.standings(context), reputation.vouches(context)
    said = {v.author: v for v in context.store.reputation.vouches(withdrawn=True)}
    authors = sorted((standings.keys() | said.keys()) - {me})
    kinds = known(authors, standings, vouches, roots={me})
    weights = reputation.weights(context, dict.fromkeys(authors, EQUAL_GAIN))
    rows = []
    for author in authors:
        standing, vouch = standings.get(author, Standing(author)), said.get(author)
        rows.append(
            TrustRow(
                author=short_name(author),
                key=full_name(author),
                standing=kinds[author],
                weight=weights.shares[author],
                why=weights.why[author],
                successes=standing.successes,
                harms=standing.harms,
                note=vouch.note if vouch else "",
                vouched_s=vouch.at_s if vouch else None,
                withdrawn_s=vouch.withdrawn_s if vouch else None,
            )
        )
    return TrustTable(tuple(sorted(rows, key=lambda row: (-row.weight, row.key))))


def _vouch(row: TrustRow) -> str:
    """Return what is known of the vouch, in words."""
    if row.vouched_s is None:
        return "none"
    if row.withdrawn_s is not None:
        return f"withdrawn {_day(row.withdrawn_s)}"
    return f"{_day(row.vouched_s)}: {row.note}" if row.note else _day(row.vouched_s)


def _day(time_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time_s))
