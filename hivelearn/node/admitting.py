"""One end of `node.merge`: patches about what others know better join the panel as experts."""

from collections.abc import Sequence
from dataclasses import replace

from hivelearn.gate import probes, rules
from hivelearn.node import evidence, panel, people
from hivelearn.node.reports import MergeReport
from hivelearn.node.round import Round
from hivelearn.node.workbench import Workbench
from hivelearn.patch.envelope import Patch
from hivelearn.store.generations import Served


def admitted(this: Round, patches: Sequence[Patch], *, adopt: bool) -> MergeReport:
    """Admit those whose authors are trusted and who harm nothing through the router.

    One after another: each is compared with a panel that holds those before it.
    """
    bench, generation = this.bench, this.incumbent
    before = held = panel.of(bench, this.now).serve(bench.engine)
    seen: list[rules.Evidence] = []
    told: rules.Evidence | None = None
    for patch in patches:
        author = patch.body.author
        trial = replace(generation, experts=(*generation.experts, _served(bench, patch)))
        with_it = panel.of(bench, panel.replaced(this.now, trial)).serve(bench.engine)
        found = probes.gather(this.probes, held, with_it, seed=bench.config.seed)
        seen.append(found)
        verdict = rules.judge_expert(found, trusted=people.trusted(bench, author))
        if verdict.accepted:
            this.settle(patch.id, author, "admitted", verdict)
            generation, held, told = trial, with_it, found
        else:
            guilty = verdict.fault == "author"
            this.settle(patch.id, author, "refused" if guilty else "sandboxed", verdict)
    if told is None:
        return this.conclude("no lift", seen[0].own, seen[0])
    count = len(generation.experts) - len(this.incumbent.experts)
    if count > 1:  # each was compared with those before it; the report tells of all together
        told = probes.gather(this.probes, before, held, seed=bench.config.seed)
    new = replace(
        generation,
        number=_next(this),
        why=f"admitted {count} expert{'s' if count > 1 else ''}",
        created_s=bench.world.clock(),
        undoes=None,
    )
    return this.conclude("admitted", told.own, told, new=new, adopt=adopt)


def _next(this: Round) -> int:
    return this.incumbent.number + 1  # an empty incumbent has number 0


def _served(bench: Workbench, patch: Patch) -> Served:
    card = patch.body.card
    claimed = card.ceiling if card else None
    return Served(
        patch=patch.id,
        payload=patch.body.payload_root.hex(),
        author=patch.body.author,
        median=card.median if card else None,
        ceiling=evidence.granted(bench, patch.adapter, claimed, patch.domain),
    )
