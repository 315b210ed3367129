"""Whose turn it is to be measured: everybody trusted, and of the others a few each time.

Model time is the dearest thing that a stranger can waste. So each merge measures
so many of their patches and no more: first of the relay that was heard least, there
of the author who was heard least, there what never had a turn, oldest first. A verdict
stands while what it depends on stands: the own held-out corrections, and what serves.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from hivelearn.node.context import NodeContext
from hivelearn.patch.verdict import Verdict
from hivelearn.store.generations import Generation
from hivelearn.store.marks import Turn
from hivelearn.store.shelf import Entry

WAITS: Final = Verdict(
    accepted=False,
    layer="rule",
    code="trust.waits",
    why="its author is not trusted yet; it waits for its turn to be measured",
)
_NONE: Final = Turn("", 0)


def state(context: NodeContext, serving: Iterable[Generation]) -> str:
    """Return one name for all that a verdict depends on besides the patch."""
    held = sorted(correction.id for correction in context.journal.list(holdout=True))
    serves = [[each.domain, each.number] for each in serving]
    return hashlib.sha256(json.dumps([context.base.hex(), held, serves]).encode()).hexdigest()


def relay(entry: Entry) -> bytes:
    """Return the device key of who told of a patch; that of its author where nobody noted it."""
    return entry.relay or entry.device


def measured(entry: Entry) -> bool:
    """Return whether a patch that rests here has had a turn."""
    return entry.state == "sandboxed" and WAITS.to_json() != entry.verdict


def waiting(context: NodeContext, domain: str, now: str, strangers: Sequence[Entry]) -> list[Entry]:
    """Return those of ``strangers`` without a standing verdict, in the order of their turns.

    Args:
        context: the node.
        domain: theirs.
        now: the :func:`state` as it is.
        strangers: what waits of unknown authors.
    """
    had = context.store.marks.turns(domain)
    heard = [entry for entry in strangers if entry.id in had]
    # What was measured and has left since was heard, too.
    heard += [e for e in context.on_shelf("refused", domain) if e.verdict != WAITS.to_json()]
    relays, authors = Counter(map(relay, heard)), Counter(entry.author for entry in heard)
    due = [entry for entry in strangers if had.get(entry.id, _NONE).state != now]
    order = []
    while due:
        first = min(
            due,
            key=lambda entry: (
                relays[relay(entry)],
                authors[entry.author],
                had.get(entry.id, _NONE).number,
                entry.arrived_s,
                entry.id,
            ),
        )
        due.remove(first)
        order.append(first)
        relays[relay(first)] += 1
        authors[first.author] += 1
    return order
