"""One end of `node.merge`: patches about what others know better join the pool as experts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hivelearn.gate import probes, rules
from hivelearn.gate.gain import Unmeasured
from hivelearn.node.ask import experts
from hivelearn.node.merge.adopt import as_served
from hivelearn.node.merge.round import Round
from hivelearn.node.reports import RoundReport
from hivelearn.patch.envelope import Patch
from hivelearn.patch.verdict import Verdict
from hivelearn.store.generations import Generation
from hivelearn.store.shelf import State


@dataclass
class _Trial:
    """A generation that grows by one expert after another, and what was found on the way."""

    generation: Generation
    before: probes.Serve
    held: probes.Serve  # with the experts admitted so far
    found: list[tuple[Patch, Verdict, rules.Evidence]] = field(default_factory=list)

    @property
    def guilty(self) -> set[bytes]:
        """Authors of patches that did harm."""
        return {patch.body.author for patch, verdict, _ in self.found if verdict.fault == "author"}

    @property
    def admitted(self) -> list[tuple[Patch, rules.Evidence]]:
        """What may serve, each with the evidence for it."""
        return [(patch, told) for patch, verdict, told in self.found if verdict.accepted]


def admit(this: Round, patches: Sequence[Patch], *, adopt: bool) -> RoundReport:
    """Admit those whose authors are trusted and who harm nothing through the router."""
    trial = _try_all(this, patches)
    seen = [told for _, _, told in trial.found]
    # What was let in before its author was found out must leave again, and the rest is
    # compared with a pool in which it never was.
    while trial.guilty & {patch.body.author for patch, _ in trial.admitted}:
        guilty = trial.guilty
        for patch, verdict, _ in trial.found:
            if patch.body.author in guilty:
                _settle(this, patch, rules.BESIDE_A_FAULT if verdict.accepted else verdict)
        trial = _try_all(this, [p for p, _, _ in trial.found if p.body.author not in guilty])
    for patch, verdict, _ in trial.found:
        _settle(this, patch, verdict)
    return _conclude(this, trial, seen, adopt=adopt)


def _try_all(this: Round, patches: Sequence[Patch]) -> _Trial:
    """Try one after another: each is compared with a pool that holds those before it."""
    context = this.context
    before = experts.of(context, this.now).serve(context.engine)
    trial = _Trial(this.incumbent, before, before)
    for patch in patches:
        added = (*trial.generation.experts, as_served(context, patch))
        larger = replace(trial.generation, experts=added)
        with_it = experts.of(context, experts.replaced(this.now, larger)).serve(context.engine)
        found = probes.gather(this.probes, trial.held, with_it, seed=context.config.seed)
        verdict = rules.judge_expert(found, trusted=patch.body.author in this.trusted)
        trial.found.append((patch, verdict, found))
        if verdict.accepted:
            trial.generation, trial.held = larger, with_it
    return trial


def _settle(this: Round, patch: Patch, verdict: Verdict) -> None:
    state: State = "sandboxed"
    if verdict.accepted:
        state = "admitted"
    elif verdict.fault == "author":
        state = "refused"
    this.settle(patch.id, patch.body.author, state, verdict)


def _conclude(
    this: Round, trial: _Trial, seen: Sequence[rules.Evidence], *, adopt: bool
) -> RoundReport:
    """Conclude the round with what the trial found."""
    context, count = this.context, len(trial.admitted)
    if not count:
        first = seen[0] if seen else None
        return this.conclude("no lift", first.own if first else Unmeasured(), first)
    _, told = trial.admitted[-1]
    if count > 1:  # each was compared with those before it; the report tells of all together
        told = probes.gather(this.probes, trial.before, trial.held, seed=context.config.seed)
    new = replace(
        trial.generation,
        number=this.incumbent.number + 1,  # an empty incumbent has number 0
        why=f"admitted {count} expert{'s' if count > 1 else ''}",
        created_s=context.clock(),
        undoes=None,
    )
    return this.conclude("admitted", told.own, told, new=new, adopt=adopt)
