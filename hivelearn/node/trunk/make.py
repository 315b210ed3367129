"""A trunk out of its parts, by the node that closes a round and by all that hear of it."""

from collections.abc import Mapping

from hivelearn.node.trunk.state import Rounds
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.descent import ONE, Descent
from hivelearn.trunk.step import Move, Step, next_trunk

Parts = Mapping[bytes, tuple[Adapter, Adapter | None]]  # root -> the part, and its trunk


def made(rounds: Rounds, descent: Descent, parts: Parts, rank: int) -> Step | None:
    """Return the trunk of ``descent``, or None if something that it is made of is not here."""
    base = rounds.known(descent.onto)
    if base is None or any(root not in parts for root, _ in descent.parts):
        return None
    before = None
    if descent.momentum:
        row = rounds.trunks.get(rounds.base, rounds.domain, descent.onto)
        found = None if row is None else rounds.known(row.onto)
        if found is None:
            return None
        before = found[1]
    moves = [Move(*parts[root], factor / ONE) for root, factor in descent.parts]
    return next_trunk(base[1], before, moves, descent.momentum / ONE, rank)
