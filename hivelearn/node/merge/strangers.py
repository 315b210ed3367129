"""Whose turn it is to be measured: everybody trusted, and of the others a few each time.

Model time is the dearest thing that a stranger can waste. So each merge measures
so many of their patches and no more, those first that never had a turn, oldest
first. A verdict stands while what it depends on stands: the own held-out
corrections, and what serves.
"""

import hashlib
import json
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


def waiting(context: NodeContext, domain: str, now: str, strangers: Sequence[Entry]) -> list[Entry]:
    """Return those of ``strangers`` without a standing verdict, in the order of their turns.

    Args:
        context: the node.
        domain: theirs.
        now: the :func:`state` as it is.
        strangers: what waits of unknown authors.
    """
    had = context.store.marks.turns(domain)
    last = {entry.id: had.get(entry.id, _NONE) for entry in strangers}
    due = [entry for entry in strangers if last[entry.id].state != now]
    return sorted(due, key=lambda entry: (last[entry.id].number, entry.arrived_s, entry.id))
