"""A trunk serves if it measures better than what serves now, and goes out once it rests."""

from dataclasses import replace

from hivelearn.gate import rules
from hivelearn.node import measure, own_records
from hivelearn.node.context import NodeContext
from hivelearn.node.merge.round import Round
from hivelearn.node.merge.trial import tried
from hivelearn.node.reports import RoundReport
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Patch


def serve_if_better(context: NodeContext, domain: str, adapter: Adapter, what: str) -> RoundReport:
    """Serve ``adapter`` as the domain's specialist if it is better at home and harms nothing.

    Args:
        context: the node.
        domain: of the rounds.
        adapter: a trunk, or the own part that finishes it.
        what: it is, for the line that says why it serves.
    """
    this = Round(context, domain, context.serving(), measure.probes(context, domain))
    found, trial = tried(this, adapter)
    verdict = rules.judge_merge(found)
    if not verdict.accepted:
        return this.conclude("no lift", found.own, found, why=verdict.why)
    context.blobs.put(adapter.to_bytes(), adapter.root().hex())
    trial = replace(trial, why=f"{what}. own {found.own}")
    return this.conclude("adopted", found.own, found, new=trial)


def sealed(context: NodeContext, domain: str, adapter: Adapter) -> Patch | None:
    """Return the trunk as a patch that stands alone, for those who do not play these rounds.

    None if it is on the shelf as such: who closed the last round first has told of it.
    """
    name = adapter.root().hex()
    if any(e.payload == name and e.onto is None for e in context.shelf.list(domain=domain)):
        return None
    card = measure.card(context, adapter, measure.holdout(context, domain))
    return own_records.sign(context, adapter, domain, card=card)
