"""What a hostile author can make with keys of its own: well signed, and bad."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from hivelearn.node import own_records
from hivelearn.node.node import Node
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Patch
from hivelearn.store.shelf import State

if TYPE_CHECKING:
    from torch import Tensor


def changed(patch: Patch, change: "Callable[[Tensor], Tensor]") -> Adapter:
    """Return the patch's adapter with every B (d_out, rank) put through ``change``."""
    factors = {name: (a, change(b)) for name, (a, b) in patch.adapter.factors.items()}
    return replace(patch.adapter, factors=factors)


def forged(author: Node, patch: Patch, change: "Callable[[Tensor], Tensor]") -> Patch:
    """Return a patch of a changed adapter, signed by ``author`` like any other."""
    context = author.context
    with context.store.writing("forge"):
        return own_records.sign(context, changed(patch, change), patch.domain)


def shelf_state(node: Node, patch: Patch) -> State:
    """Return where ``patch`` rests on the node's shelf."""
    entry = node.context.shelf.get(patch.id)
    assert entry is not None
    return entry.state
