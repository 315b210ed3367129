"""Which records are here with all their ancestors, and what waits in the park for a parent."""

import logging
from typing import Final

from hivelearn.node.context import NodeContext
from hivelearn.patch import lineage
from hivelearn.patch.notice import Notice, read_envelope

log: Final = logging.getLogger("hivelearn.swarm")


def complete(context: NodeContext, notice: Notice) -> bool:
    """Whether all ancestors that a record names are here; early is nobody's fault.

    Raises:
        PeerError: its lineage is deeper than any honest one; its author's fault.
    """
    return not notice.body.parents or _complete(notice, _depths(context, notice.body.domain))


def unpark(context: NodeContext, domain: str) -> None:
    """Let children out of the park whose parents have come. The caller holds the writer lock."""
    parked = context.shelf.list(state="parked", domain=domain)
    depths = _depths(context, domain) if parked else {}
    for entry in parked:
        if entry.payload is not None and _complete(_notice(entry.envelope), depths):
            context.shelf.move(entry.id, "quarantined", reason="its parents are here")


def _complete(notice: Notice, depths: dict[bytes, int]) -> bool:
    try:
        lineage.depth(notice.id, notice.body.parents, depths)
    except lineage.UnknownParentError as error:
        log.info("%s", error)
        return False
    return True


def _depths(context: NodeContext, domain: str) -> dict[bytes, int]:
    """Return the depth of every record of a domain whose ancestors are all here."""
    waiting = {
        entry.id: _notice(entry.envelope).body.parents
        for entry in context.shelf.list(domain=domain)
    }
    depths: dict[bytes, int] = {}
    while ready := [i for i, parents in waiting.items() if depths.keys() >= set(parents)]:
        for patch in ready:
            depths[patch] = lineage.depth(patch, waiting.pop(patch), depths)
    return depths


def _notice(envelope: bytes) -> Notice:
    notice = read_envelope(envelope, now_s=0.0)  # on the shelf: verified when it came
    assert notice is not None
    return notice
