"""A trunk serves if it measures better than what serves now, and goes out once it rests."""

from dataclasses import replace

from hivelearn.gate import rules
from hivelearn.gate.gain import Gain
from hivelearn.node import measure, own_records
from hivelearn.node.context import NodeContext
from hivelearn.node.merge.round import Round
from hivelearn.node.merge.trial import incumbent, tried
from hivelearn.node.reports import RoundReport
from hivelearn.node.trunk.state import Rounds
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Patch


def serve_if_better(rounds: Rounds, adapter: Adapter, what: str) -> RoundReport:
    """Serve ``adapter`` as the domain's specialist if it is better at home and harms nothing.

    Where too few corrections are held out to measure it by, it must be better on all of them:
    a specialist that was trained on those is hard to beat there, and goes on serving.

    Args:
        rounds: of the domain.
        adapter: a trunk.
        what: it is, for the line that says why it serves.
    """
    context, domain = rounds.context, rounds.domain
    this = Round(context, domain, context.serving(), measure.probes(context, domain))
    found, trial = tried(this, adapter)
    own = found.own
    if not isinstance(own, Gain):
        own = rounds.gain(incumbent(this), adapter)
    verdict = rules.judge_merge(replace(found, own=own))
    if not verdict.accepted:
        return this.conclude("no lift", found.own, found, why=verdict.why)
    context.blobs.put(adapter.to_bytes(), adapter.root().hex())
    measured = found.own if isinstance(found.own, Gain) else f"unmeasured: {found.own}"
    trial = replace(trial, why=f"{what}. own {measured}")
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
