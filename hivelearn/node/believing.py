"""The second story: arrived patches become better answers, or leave a reason why not.

    quarantine → screen → probe by own evidence → trust
        → the domain is ours (a specialist and a holdout): merge, judge the merge, adopt | "no lift"
        → else: admit as experts, if their authors are trusted and nothing is harmed

Read `merge` top to bottom. Each commit is a generation that `rollback` takes back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from hivelearn.gate import probes as gate_probes
from hivelearn.gate import rules
from hivelearn.gate.gain import N_MIN, Gain, Measure, Unmeasured, paired_gain
from hivelearn.gate.measures import delta_norms
from hivelearn.gate.screen import Surroundings, screen
from hivelearn.identity import short_name
from hivelearn.inference import router
from hivelearn.merging.merge import combine
from hivelearn.merging.plan import MergeRecipe
from hivelearn.node import evidence, panel, people
from hivelearn.node.reports import Judged, MergeReport
from hivelearn.node.workbench import Workbench
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Patch
from hivelearn.patch.verdict import Verdict
from hivelearn.store.correction import check_domain
from hivelearn.store.generations import Generation, Served

State = Literal["quarantined", "sandboxed", "admitted", "merged", "refused"]


@dataclass
class Round:
    """One run of `merge`: what is known so far. Never leaves this file."""

    bench: Workbench
    domain: str
    now: tuple[Generation, ...]  # what serves, all domains
    probes: gate_probes.Probes
    judged: list[Judged] = field(default_factory=list)
    gains: dict[bytes, Measure] = field(default_factory=dict)  # patch -> alone, against the base

    @property
    def incumbent(self) -> Generation | None:
        """What serves the domain now."""
        return next((g for g in self.now if g.domain == self.domain), None)

    @property
    def ours(self) -> bool:
        """Whether the domain has a specialist and enough own evidence to judge a merge."""
        generation = self.incumbent
        has_specialist = generation is not None and generation.specialist is not None
        return has_specialist and len(self.probes.own) >= N_MIN

    def settle(
        self, patch: Patch, state: State, verdict: Verdict, weight: float | None = None
    ) -> None:
        """Move a patch on the shelf and write it down for the report."""
        self.bench.store.shelf.move(
            patch.id, state, verdict=verdict.to_json(), reason=verdict.why
        )
        gain = self.gains.get(patch.id, Unmeasured())
        name = short_name(patch.body.author)
        self.judged.append(Judged(patch.id.hex(), name, verdict, state, gain, weight))


def merge(
    bench: Workbench, domain: str, recipe: MergeRecipe | None = None, *, adopt: bool = True
) -> MergeReport:
    """Judge what rests in quarantine for ``domain``; merge or admit what passes.

    Args:
        bench: the node.
        domain: which domain's patches to judge.
        recipe: method, density and rank of a merge; its weights are trust's to give.
        adopt: False leaves a merge as a candidate for ``node.adopt(report)``.

    Raises:
        WriterBusyError: another process writes to this home.
    """
    check_domain(domain)
    with bench.store.writing(f"merge {domain}"):
        now = bench.store.generations.serving(bench.base)
        this = Round(bench, domain, now, evidence.probes(bench, domain))
        patches = _measured(this, _screened(this))
        if not patches:
            return _report(this, "nothing to judge", Unmeasured("nothing arrived"))
        if this.ours:
            report = _merged(this, patches, recipe, adopt=adopt)
        else:
            report = _admitted(this, patches)
        verdicts: dict[bytes, list[people.Judgement]] = {}
        for patch in patches:
            said = people.judgement(this.gains[patch.id])
            if said is not None:
                verdicts.setdefault(patch.body.author, []).append(said)
        people.after_round(bench, verdicts)
        return report


def _screened(this: Round) -> list[Patch]:
    """Return the waiting patches that pass the screens without a model, sorted by id."""
    bench, passed = this.bench, []
    around = Surroundings(base=bench.base, trusted=_trusted_norms(this))
    for state in ("quarantined", "sandboxed"):
        for entry in bench.store.shelf.list(state=state, domain=this.domain, base=bench.base):
            patch = bench.patch(entry.id)
            verdict = screen(patch.adapter, around)
            if verdict.accepted:
                verdict = _fits(bench, patch.adapter)
            if verdict.accepted:
                passed.append(patch)
            else:
                this.settle(patch, "refused", verdict)
    return sorted(passed, key=lambda patch: patch.id)


def _trusted_norms(this: Round) -> list[dict[str, float]]:
    served = [s for g in this.now for s in (g.specialist, *g.experts) if s is not None]
    return [dict(delta_norms(this.bench.adapter(each))) for each in served]


def _fits(bench: Workbench, adapter: Adapter) -> Verdict:
    from hivelearn.inference.engine import AdapterMismatchError

    try:
        bench.engine.check(adapter)
    except AdapterMismatchError as error:
        return Verdict(False, "policy", "policy.shape", error.what, fault="author")
    return Verdict(True, "policy", "policy.shape", "fits the model")


def _measured(this: Round, patches: Sequence[Patch]) -> list[Patch]:
    """Measure each patch alone on the own holdout; refuse outliers of a cohort."""
    rows, engine = this.probes.own, this.bench.engine
    if len(rows) < N_MIN:
        this.gains.update({p.id: Unmeasured("unmeasured here") for p in patches})
        return list(patches)
    base = engine.losses(rows, None, "answer")
    losses = {p.id: engine.losses(rows, p.adapter, "answer") for p in patches}
    means = {patch: sum(values) / len(values) for patch, values in losses.items()}
    kept = []
    for patch in patches:
        gain = paired_gain(base, losses[patch.id], seed=this.bench.config.seed)
        this.gains[patch.id] = gain
        verdict = rules.judge_outlier(means[patch.id], list(means.values()), gain)
        if verdict.accepted:
            kept.append(patch)
        else:
            this.settle(patch, "refused", verdict)
    return kept


def _admitted(this: Round, patches: Sequence[Patch]) -> MergeReport:
    """Admit as experts those whose authors are trusted and who harm nothing through the router."""
    bench, number = this.bench, None
    generation = this.incumbent or Generation(
        bench.base, this.domain, None, (), "", bench.world.clock()
    )
    held = panel.of(bench, this.now).serve(bench.engine)
    last: rules.Evidence | None = None
    for patch in patches:
        trusted = people.trusted(bench, patch.body.author)
        trial = replace(generation, experts=(*generation.experts, _served(bench, patch)))
        with_it = panel.of(bench, panel.replaced(this.now, trial)).serve(bench.engine)
        found = gate_probes.gather(this.probes, held, with_it, seed=bench.config.seed)
        verdict = rules.judge_expert(found, trusted=trusted)
        if verdict.accepted:
            this.settle(patch, "admitted", verdict)
            generation, held, last = trial, with_it, found
        else:
            refused = verdict.fault == "author"
            this.settle(patch, "refused" if refused else "sandboxed", verdict)
            last = last or found
    assert last is not None
    if generation.experts != (this.incumbent.experts if this.incumbent else ()):
        why = f"admitted {len(generation.experts)} expert(s)"
        number = bench.store.generations.commit(
            replace(generation, number=0, why=why, created_s=bench.world.clock(), undoes=None)
        )
    outcome = "admitted" if number is not None else "no lift"
    return _report(this, outcome, last.own, last, generation=number)


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


def _merged(
    this: Round, patches: Sequence[Patch], recipe: MergeRecipe | None, *, adopt: bool
) -> MergeReport:
    """Merge into the domain's specialist by trust and measured gain, then judge the result."""
    bench = this.bench
    old = this.incumbent
    assert old is not None and old.specialist is not None
    shares = _shares(this, patches)
    if not any(shares.values()):
        verdict = Verdict(False, "rule", "fit.no-weight", "nothing measured better than the base")
        for patch in patches:
            this.settle(patch, "sandboxed", verdict)
        return _report(this, "no lift", _own_gain(this, None))
    candidate = _combined(bench, bench.adapter(old.specialist), patches, shares, recipe)
    found, trial = _trial(this, old, candidate)
    verdict = rules.judge_merge(found)
    if not verdict.accepted:
        for patch in patches:
            this.settle(patch, "sandboxed", verdict, shares[patch.id])
        return _report(this, "no lift", found.own, found, why=verdict.why)
    bench.store.blobs.put(candidate.to_bytes(), candidate.root().hex())
    moved = {patch.id.hex(): shares[patch.id] for patch in patches}
    if not adopt:
        from hivelearn.node import adopting

        number = adopting.leave(bench, trial, moved)
        report = _report(this, "candidate", found.own, found)
        return replace(report, candidate=number)
    for patch in patches:
        this.settle(patch, "merged", verdict, shares[patch.id])
    number = bench.store.generations.commit(trial)
    return _report(this, "adopted", found.own, found, generation=number)


def _shares(this: Round, patches: Sequence[Patch]) -> dict[bytes, float]:
    """Return each patch's weight: its author's share, divided among the author's patches."""
    lows: dict[bytes, list[float]] = {}
    for patch in patches:
        gain = this.gains[patch.id]
        if isinstance(gain, Gain):
            lows.setdefault(patch.body.author, []).append(gain.low)
    weights = people.weights(this.bench, {author: max(low) for author, low in lows.items()})
    return {
        patch.id: weights.shares.get(patch.body.author, 0.0) / len(lows[patch.body.author])
        for patch in patches
    }


def _combined(
    bench: Workbench,
    incumbent: Adapter,
    patches: Sequence[Patch],
    shares: dict[bytes, float],
    recipe: MergeRecipe | None,
) -> Adapter:
    """Merge by weight; what is not given to others stays with the incumbent."""
    given = [shares[patch.id] for patch in patches]
    weights = (1.0 - sum(given), *given)
    ranks = [incumbent.rank, *(patch.adapter.rank for patch in patches)]
    wanted = recipe or MergeRecipe.mean(len(weights))
    plan = replace(wanted, weights=weights, rank=wanted.rank or max(ranks))
    return combine([incumbent, *(patch.adapter for patch in patches)], plan).adapter


def _trial(
    this: Round, old: Generation, candidate: Adapter
) -> tuple[rules.Evidence, Generation]:
    """Return the evidence for serving ``candidate`` instead, and the generation it would be."""
    bench = this.bench
    card = router.card(bench.engine.losses(this.probes.own, candidate, "prompt"))
    ceiling = evidence.granted(bench, candidate, card.ceiling if card else None, this.domain)
    median = card.median if card else None
    name = candidate.root().hex()
    served = Served(None, name, bench.identity.author, median, ceiling)
    trial = replace(
        old,
        specialist=served,
        number=old.number + 1,
        why="merged",
        created_s=bench.world.clock(),
        undoes=None,
    )
    bench.lend(served, candidate)  # so that the panel can be tried before anything is stored
    before = panel.of(bench, this.now).serve(bench.engine)
    after = panel.of(bench, panel.replaced(this.now, trial)).serve(bench.engine)
    found = gate_probes.gather(this.probes, before, after, seed=bench.config.seed)
    found = replace(found, own=_own_gain(this, candidate))
    return found, replace(trial, why=f"merged. own {found.own}")


def _own_gain(this: Round, candidate: Adapter | None) -> Measure:
    """Return the gain at home, adapter against adapter: what the router does is not in it."""
    bench, old = this.bench, this.incumbent
    assert old is not None and old.specialist is not None
    now = bench.adapter(old.specialist)
    return gate_probes.gain(
        this.probes.own,
        gate_probes.serving(bench.engine, now),
        gate_probes.serving(bench.engine, candidate or now),
        seed=bench.config.seed,
    )


def _report(  # noqa: PLR0913 - a report has that many facts
    this: Round,
    outcome: str,
    own: Measure,
    found: rules.Evidence | None = None,
    *,
    generation: int | None = None,
    why: str = "",
) -> MergeReport:
    others = dict(found.others) if found else {}
    base = found.base if found else None
    patches = tuple(this.judged)
    return MergeReport(
        this.domain, outcome, own, others, base, patches, generation, None, why  # type: ignore[arg-type]
    )
