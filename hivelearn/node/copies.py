"""Evidence counts once: successes are compared with what was here before them.

An update is a copy if the patches before it make it up (:mod:`hivelearn.gate.likeness`).
What comes before what: the node's own patches, then those of authors for whom a person
speaks, then all others; among equals, what arrived first. So whoever signs a friend's
update again earns nothing, though it came before the friend's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hivelearn.errors import PeerError
from hivelearn.files import DiskError
from hivelearn.gate import likeness
from hivelearn.gate.norms import nonfinite
from hivelearn.node import reputation
from hivelearn.node.context import NodeContext
from hivelearn.store.shelf import Entry

if TYPE_CHECKING:
    from hivelearn.patch.adapter import Adapter


def compare(context: NodeContext, *, anew: bool = False) -> None:
    """Decide which successes are copies. The caller holds the writer lock.

    Args:
        context: the node.
        anew: compare again what was brought by authors for whom nobody speaks: something
            has arrived that goes before it.
    """
    known = reputation.vouched(context)
    rows = context.store.reputation.evidence()
    doubtful = [
        row.patch
        for row in rows
        if row.judgement in ("success", "copy")
        and (not row.compared or (anew and row.author not in known))
    ]
    if not doubtful:
        return
    order = _in_order(context, known)
    places = {entry.id: place for place, entry in enumerate(order)}
    found = {
        patch: "copy"
        if _is_copy(context, order[: places[patch]], order[places[patch]])
        else "success"
        for patch in doubtful
    }
    context.store.reputation.amend(found)


def _in_order(context: NodeContext, known: frozenset[bytes]) -> list[Entry]:
    """Return what rests or serves here, what goes before what."""
    me = context.identity.author

    def rank(entry: Entry) -> int:
        if entry.author == me:
            return 0
        return 1 if entry.author in known else 2

    return sorted(context.shelf.by_arrival(), key=rank)  # stable: among equals by arrival


def _is_copy(context: NodeContext, before: Sequence[Entry], entry: Entry) -> bool:
    """Return whether those before it make up ``entry``."""
    same_base = [each for each in before if each.base == entry.base]
    if any(each.payload == entry.payload for each in same_base):
        return True
    adapter = _read(context, entry)
    if adapter is None:
        return False
    # The nearest are read twice, so that only one of them all is in memory meanwhile. Of those
    # whom one trusts as many as of all others: a crowd must not push them out of sight.
    known = reputation.vouched(context) | {context.identity.author}
    near: dict[bool, list[tuple[float, bytes, Entry]]] = {True: [], False: []}
    for each in _distinct(same_base):
        other = _read(context, each)
        share = likeness.explained(adapter, [other]) if other is not None else 0.0
        kind = each.author in known
        found = sorted([*near[kind], (-share, each.id, each)], key=lambda n: n[:2])
        near[kind] = found[: likeness.NEAREST]
    others = [[_read(context, each) for *_, each in some] for some in near.values()]
    return any(
        likeness.is_copy(adapter, [other for other in some if other is not None]) for some in others
    )


def _distinct(entries: Sequence[Entry]) -> list[Entry]:
    """Return the first of each payload: one that was signed nine times is one."""
    return list({entry.payload: entry for entry in reversed(entries)}.values())


def _read(context: NodeContext, entry: Entry) -> "Adapter | None":
    """Return the adapter of an entry; None if this disk has lost it, or if no screen would pass it.

    What waits in quarantine was not screened, and one NaN must not stop every comparison.
    """
    try:
        adapter = context.adapters.patch(entry.id).adapter
    except (PeerError, DiskError):  # its merge says so
        return None
    return None if nonfinite(adapter) else adapter
