"""From whom a patch descends. Provenance only: parents give no rights and no weight.

Ids are hashes of bodies that name their parents, so a cycle would need a hash
collision; still depth and width are bounded, because a peer chooses both.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from hivelearn.errors import PeerError

DEPTH_MAX: Final = 10_000


class UnknownParentError(PeerError):
    """A patch names a parent that this node has never held."""

    fault = "nobody"  # it came early; it is parked until the parent arrives
    code = "lineage.orphan"
    remedy = "Wait: it is parked until its parent arrives."

    def __init__(self, patch: bytes, parent: bytes) -> None:
        self.patch, self.parent = patch, parent
        super().__init__(f"patch {patch.hex()[:8]} builds on {parent.hex()[:8]}, unknown here")


def depth(patch: bytes, parents: Sequence[bytes], depths: Mapping[bytes, int]) -> int:
    """Return 1 + the greatest depth of ``parents`` (0 without any).

    Raises:
        UnknownParentError: a parent has no known depth.
        PeerError: deeper than 10,000; its author's fault.
    """
    for parent in parents:
        if parent not in depths:
            raise UnknownParentError(patch, parent)
    deepest = max((depths[parent] + 1 for parent in parents), default=0)
    if deepest > DEPTH_MAX:
        raise PeerError(
            f"lineage of depth {deepest}, limit {DEPTH_MAX}", fault="author", code="lineage.depth"
        )
    return deepest


def ancestors(patch: bytes, parents_of: Mapping[bytes, Sequence[bytes]]) -> tuple[bytes, ...]:
    """Return all known ancestors of ``patch``, nearest generation first, ids sorted within."""
    found: dict[bytes, None] = {}
    generation = sorted(set(parents_of.get(patch, ())))
    while generation:
        found.update(dict.fromkeys(generation))
        following = {p for child in generation for p in parents_of.get(child, ())}
        generation = sorted(following - found.keys())
    return tuple(found)
