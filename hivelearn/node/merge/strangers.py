"""Whose turn it is to be measured: everybody trusted, and of the others a few each time.

Model time is the dearest thing that a stranger can waste. So each merge measures
so many of their patches and no more, those first that never had a turn, oldest
first. A verdict stands while what it depends on stands: the own held-out
corrections, and what serves.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence

from hivelearn.node.context import NodeContext
from hivelearn.patch.verdict import Verdict
from hivelearn.store.generations import Generation
from hivelearn.store.shelf import Entry

WAITS = Verdict(
    accepted=False,
    layer="rule",
    code="trust.waits",
    why="its author is not trusted yet; it waits for its turn to be measured",
)


def state(context: NodeContext, serving: Iterable[Generation]) -> str:
    """Return one name for all that a verdict depends on besides the patch."""
    held = sorted(correction.id for correction in context.store.journal.list(holdout=True))
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
    had: dict[str, tuple[str, int]] = context.store.notes.setting(_setting(domain), {})
    last = {entry.id: had.get(entry.id.hex(), ("", 0)) for entry in strangers}
    due = [entry for entry in strangers if last[entry.id][0] != now]
    return sorted(due, key=lambda entry: (last[entry.id][1], entry.arrived_s, entry.id))


def take(context: NodeContext, domain: str, now: str, patches: Iterable[bytes]) -> None:
    """Note that these patches have had their turn, and forget those that wait no more.

    The caller holds the writer lock, and has moved the patches.
    """
    had: dict[str, tuple[str, int]] = context.store.notes.setting(_setting(domain), {})
    turn = max((number for _, number in had.values()), default=0) + 1
    had |= {patch.hex(): (now, turn) for patch in patches}
    resting = context.store.shelf.list(state="sandboxed", domain=domain, base=context.base)
    kept = {e.id.hex(): had[e.id.hex()] for e in resting if e.id.hex() in had}
    if kept:
        context.store.notes.set(_setting(domain), kept)
    else:
        context.store.notes.unset(_setting(domain))


def _setting(domain: str) -> str:
    return f"turns/{domain}"
