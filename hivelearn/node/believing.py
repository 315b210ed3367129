"""The second story: arrived patches become better answers, or leave a reason why not.

    quarantine → screen → probe by own evidence → trust
        → the domain is ours (a specialist and a holdout): merge, judge the merge, adopt | "no lift"
        → else: admit as experts, if their authors are trusted and nothing is harmed

Read `merge` top to bottom; the two ends of the story are `merging_in.py` and
`admitting.py`. Each commit is a generation that `rollback` takes back.
"""

from collections.abc import Sequence

from hivelearn.errors import PeerError
from hivelearn.gate import rules
from hivelearn.gate.gain import N_MIN, Unmeasured, paired_gain
from hivelearn.gate.measures import delta_norms
from hivelearn.gate.screen import Surroundings, screen
from hivelearn.inference.engine import AdapterMismatchError
from hivelearn.merging.recipe import MergeRecipe
from hivelearn.node import admitting, evidence, merging_in
from hivelearn.node.reports import MergeReport
from hivelearn.node.round import Round
from hivelearn.node.workbench import Workbench
from hivelearn.patch.envelope import Patch
from hivelearn.patch.verdict import Verdict
from hivelearn.store.correction import check_domain
from hivelearn.store.errors import MissingBlobError
from hivelearn.store.shelf import Entry


def merge(
    bench: Workbench, domain: str, recipe: MergeRecipe | None = None, *, adopt: bool = True
) -> MergeReport:
    """Judge what rests in quarantine for ``domain``; merge or admit what passes.

    Args:
        bench: the node.
        domain: which domain's patches to judge.
        recipe: method, density and rank of a merge; its weights are trust's to give.
        adopt: False leaves what passed as a candidate for ``node.adopt(report)``.

    Raises:
        WriterBusyError: another process writes to this home.
    """
    check_domain(domain)
    with bench.store.writing(f"merge {domain}"):
        now = bench.store.generations.serving(bench.base)
        this = Round(bench, domain, now, evidence.probes(bench, domain))
        patches = _measured(this, _screened(this))
        if not patches:
            why = "nothing passed the screens" if this.judged else "nothing arrived"
            return this.conclude("nothing to judge", Unmeasured(why), why=why)
        if this.ours:
            return merging_in.merged(this, patches, recipe, adopt=adopt)
        return admitting.admitted(this, patches, adopt=adopt)


def _screened(this: Round) -> list[Patch]:
    """Return the waiting patches that pass the screens without a model, sorted by id."""
    bench, passed = this.bench, []
    served = [s for g in this.now for s in (g.specialist, *g.experts) if s is not None]
    around = Surroundings(
        base=bench.base,
        weights=bench.engine.norms(),
        trusted=[delta_norms(bench.adapter(each)) for each in served],
    )
    for state in ("quarantined", "sandboxed"):
        for entry in bench.store.shelf.list(state=state, domain=this.domain, base=bench.base):
            patch, verdict = _screen(bench, entry, around)
            if patch is not None and verdict.accepted:
                passed.append(patch)
            else:
                this.settle(entry.id, entry.author, "refused", verdict)
    return sorted(passed, key=lambda patch: patch.id)


def _screen(bench: Workbench, entry: Entry, around: Surroundings) -> tuple[Patch | None, Verdict]:
    try:
        patch = bench.patch(entry.id)
    except (PeerError, MissingBlobError) as error:
        # It was whole when it came in, so this disk lost it: nobody else's fault.
        lost = f"its payload is lost: {error.what}"
        return None, Verdict(accepted=False, layer="format", code="payload.lost", why=lost)
    verdict = screen(patch.adapter, around)
    try:
        bench.engine.check(patch.adapter)
    except AdapterMismatchError as error:
        verdict = Verdict(
            accepted=False, layer="policy", code="policy.shape", why=error.what, fault="author"
        )
    return patch, verdict


def _measured(this: Round, patches: Sequence[Patch]) -> list[Patch]:
    """Measure each patch alone on the own holdout; refuse outliers of a cohort."""
    rows, engine = this.probes.own, this.bench.engine
    if len(rows) < N_MIN:
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
            this.settle(patch.id, patch.body.author, "refused", verdict)
    return kept
