"""Others' trunks: this node goes on from one of them where it is the better one to go on from.

A trunk whose parts are all here is made of them by this node itself; of another it takes the
payload that its author signed. In both cases its name is what it is made of.
"""

from collections.abc import Sequence

from hivelearn.gate.gain import Measure
from hivelearn.node.trunk import make
from hivelearn.node.trunk.close import as_trunk
from hivelearn.node.trunk.state import Record, Rounds
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.descent import root_id
from hivelearn.store.trunks import Trunk
from hivelearn.trunk.fork import Claim, takes_over

KNOWN = "its trunk is known here"
LEFT = "another trunk was gone on from"
UNTRUE = "it counts its trunks or parts otherwise than they are"


def take(rounds: Rounds, records: Sequence[Record]) -> Measure | None:
    """Go on from the best of what trusted authors go on from; return its gain, None if it is ours.

    What was looked at leaves the shelf: it will be no better later.
    """
    me, taken = rounds.context.identity.author, None
    before = rounds.adapter
    offered = [r for r in records if r.descent.is_trunk and r.body.author != me]
    for record in sorted(offered, key=lambda r: (-r.descent.parts_in_all, r.makes)):
        if record.body.author not in rounds.trusted:
            continue
        if rounds.trunks.get(rounds.base, rounds.domain, record.makes) is not None:
            rounds.retire(record, KNOWN)
            continue
        if not _so(rounds, record):
            rounds.retire(record, UNTRUE)
            continue
        found = _adapter(rounds, record, records)
        if found is None:
            continue
        adapter, lost = found
        claim = Claim(record.makes, record.descent.parts_in_all)
        if takes_over(rounds.claim, claim, rounds.gain(rounds.adapter, adapter)):
            go_on_from(rounds, as_trunk(rounds, record.descent, adapter, lost), adapter)
            taken = rounds.gain(before, adapter)
        rounds.retire(record, KNOWN if rounds.id == claim.id else LEFT)
    return taken


def _so(rounds: Rounds, record: Record) -> bool:
    """Return whether what it claims of the trunk beneath it is so, where that is known here."""
    descent = record.descent
    if descent.onto == root_id(rounds.base, rounds.domain):
        return (descent.height, descent.parts_before) == (0, 0)
    row = rounds.trunks.get(rounds.base, rounds.domain, descent.onto)
    return row is None or (row.height, row.parts) == (descent.height, descent.parts_before)


def go_on_from(rounds: Rounds, trunk: Trunk, adapter: Adapter) -> None:
    """Make a trunk the domain's; what is known of the one before is looked up anew."""
    assert trunk.payload is not None
    store = rounds.context.store
    store.blobs.put(adapter.to_bytes(), trunk.payload)
    for old in rounds.trunks.go_on_from(trunk):
        if not store.shelf.needs_blob(old):
            store.blobs.delete(old)
    for name in ("trunk", "adapter"):
        rounds.__dict__.pop(name, None)


def _adapter(
    rounds: Rounds, record: Record, records: Sequence[Record]
) -> tuple[Adapter, float] | None:
    parts = {}
    for each in records:
        known = None if each.descent.is_trunk else rounds.known(each.descent.onto)
        if known is not None and (adapter := rounds.read(each)) is not None:
            parts[each.root] = (adapter, known[1])
    step = make.made(rounds, record.descent, parts, record.body.adapter.rank)
    if step is not None:
        return step.adapter, step.lost
    signed = rounds.read(record)
    return None if signed is None else (signed, 0.0)
