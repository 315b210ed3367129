"""What would serve instead, and the evidence for it: a merge's candidate, or a round's trunk."""

from dataclasses import replace

from hivelearn.gate import probes, rules
from hivelearn.node import measure
from hivelearn.node.ask import experts
from hivelearn.node.merge.round import Round
from hivelearn.patch.adapter import Adapter
from hivelearn.store.generations import Generation, Served


def incumbent(this: Round) -> Adapter | None:
    """Return the adapter of the domain's specialist; None is the base model."""
    served = this.incumbent.specialist
    return None if served is None else this.context.adapters.get(served)


def tried(this: Round, candidate: Adapter) -> tuple[rules.Evidence, Generation]:
    """Return the evidence for serving ``candidate`` instead, and the generation it would be.

    Its gain at home is adapter against adapter, and what the router makes of it must be no
    harm: an adapter to which its own questions look strange answers none of them.
    """
    context, old = this.context, this.incumbent
    card = measure.card(context, candidate, this.probes.own)
    claim = measure.granted(context, candidate, card, this.domain)
    served = Served(
        patch=None,
        payload=candidate.root().hex(),
        author=context.identity.author,
        median=card.median if card else None,
        ceiling=claim.ceiling if claim else None,
        floor=claim.floor if claim else None,
    )
    trial = replace(
        old,
        specialist=served,
        number=old.number + 1,
        created_s=context.clock(),
        undoes=None,
    )
    context.adapters.lend(served, candidate)  # so that it can be tried before it is stored
    before = experts.of(context, this.now).serve(context.engine)
    after = experts.of(context, experts.replaced(this.now, trial)).serve(context.engine)
    found = probes.gather(this.probes, before, after, seed=context.config.seed)
    own = probes.gain(
        this.probes.own,
        probes.serving(context.engine, incumbent(this)),
        probes.serving(context.engine, candidate),
        seed=context.config.seed,
    )
    others = {**found.others, f"{this.domain} as asked": found.own}
    return replace(found, own=own, others=others), trial
