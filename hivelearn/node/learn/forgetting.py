"""What a training cost in general ability: the same general questions, before and after.

Asked as if of the expert's domain, they show what the adapter has forgotten; as they are
asked, what the router lets through. They are the texts that judge harm, not those that
are rehearsed.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hivelearn.gate.gain import Measure, paired_gain
from hivelearn.node import measure
from hivelearn.node.ask import experts
from hivelearn.node.context import NodeContext

if TYPE_CHECKING:
    from hivelearn.patch.adapter import Adapter


@dataclass(frozen=True, slots=True)
class General:
    """Gains on general questions against the base model; what is below zero was forgotten."""

    stated: Measure
    routed: Measure


def measured(context: NodeContext, adapter: "Adapter") -> General:
    """Return what ``adapter`` has cost, and what the node has lost as it serves now."""
    rows, seed = measure.general(context), context.config.seed
    before = measure.losses(context, rows, None)
    stated = measure.losses(context, rows, adapter)
    routed = experts.current(context).serve(context.engine)(rows)
    return General(paired_gain(before, stated, seed=seed), paired_gain(before, routed, seed=seed))
