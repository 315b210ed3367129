"""The second story: arrived patches become better answers, or leave a reason why not.

    quarantine → trust (all of the trusted, a few strangers) → screen → probe by own evidence
        → the domain is ours (a specialist and a holdout): merge, judge the merge, adopt | "no lift"
        → else: admit as experts, if their authors are trusted and nothing is harmed

Read `merge` top to bottom; the two ends of the story are `into_own.py` and
`admit.py`. Each commit is a generation that `rollback` takes back.
"""

from collections.abc import Sequence
from typing import Final

from hivelearn.errors import PeerError
from hivelearn.gate import rules
from hivelearn.gate.gain import N_MIN, Unmeasured, paired_gain
from hivelearn.gate.norms import delta_norms, whole_norm
from hivelearn.gate.screen import Norms, ScreenLimits, Surroundings, screen
from hivelearn.inference.engine import AdapterMismatchError
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.node import copies, domains, measure, reputation
from hivelearn.node.context import NodeContext
from hivelearn.node.events import MergeEnded
from hivelearn.node.merge import admit, into_own, rollback, strangers
from hivelearn.node.merge.round import Round
from hivelearn.node.reports import RoundReport
from hivelearn.patch.envelope import Patch
from hivelearn.patch.verdict import Verdict
from hivelearn.store.errors import MissingBlobError
from hivelearn.store.shelf import Entry, State

LARGE: Final = ScreenLimits().cohort_ratio_max


def merge(
    context: NodeContext,
    domain: str,
    recipe: MergeRecipe | None = None,
    *,
    adopt: bool = True,
    again: bool = True,
) -> RoundReport:
    """Judge what rests in quarantine for ``domain``; merge or admit what passes.

    Args:
        context: the node.
        domain: which domain's patches to judge.
        recipe: method, density and rank of a merge; its weights are trust's to give.
        adopt: False leaves what passed as a candidate for ``node.adopt(report)``.
        again: judge also what a rollback took out; False unless a person asks for it.

    Raises:
        UsageError: no domain name, or one that was mistyped.
        WriterBusyError: another process writes to this home.
    """
    domains.check_not_mistyped(context, domain)
    if recipe is not None:
        into_own.bounded(recipe)  # said before anything is judged
    with context.store.writing(f"merge {domain}"):
        if again:
            rollback.give_back(context, domain)
        if _resting(context, domain):
            report = _judge(context, domain, recipe, adopt=adopt)
        else:  # said before a model is opened for nothing
            why = "nothing arrived"
            report = RoundReport(domain, "nothing to judge", Unmeasured(why), why=why)
    context.events.publish(MergeEnded(report))
    return report


def _judge(
    context: NodeContext, domain: str, recipe: MergeRecipe | None, *, adopt: bool
) -> RoundReport:
    """Go through the whole round."""
    copies.compare(context, anew=_friends_arrived(context, domain))
    this = Round(
        context,
        domain,
        context.serving(),
        measure.probes(context, domain),
        trusted=reputation.trusted(context, domain),
        at_fault=set(reputation.at_fault(context, domain)),
    )
    waiting = _take_turns(this)
    patches = _set_guilty_aside(this, _measure(this, _screen(this, waiting)))
    if not patches:
        why = _nothing(waiting)
        return this.conclude("nothing to judge", Unmeasured(why), why=why)
    if this.ours:
        return into_own.merge_into_own(this, patches, recipe, adopt=adopt)
    # Trusted authors first: an expert is compared with a pool that holds those before it.
    patches.sort(key=lambda patch: (patch.body.author not in this.trusted, patch.id))
    return admit.admit(this, patches, adopt=adopt)


def _friends_arrived(context: NodeContext, domain: str) -> bool:
    """Return whether somebody for whom a person speaks sent something since the last round."""
    known = reputation.vouched(context)
    return any(entry.author in known for entry in context.on_shelf("quarantined", domain))


def _take_turns(this: Round) -> list[Entry]:
    """Return what is judged now: of trusted authors all, of strangers a few; postpone the rest."""
    here = _resting(this.context, this.domain)
    unknown = [entry for entry in here if entry.author not in this.trusted]
    due = strangers.waiting(this.context, this.domain, this.state, unknown)
    places = this.context.config.strangers_per_merge
    for entry in due[places:]:
        if entry.state == "quarantined":
            this.postpone(entry)
    return [entry for entry in here if entry.author in this.trusted] + due[:places]


def _resting(context: NodeContext, domain: str) -> list[Entry]:
    """Return what rests on the shelf for a judgement, but for what a rollback took out."""
    states: tuple[State, ...] = ("quarantined", "sandboxed")
    spared = rollback.taken_back(context, domain)
    return [
        entry
        for state in states
        for entry in context.on_shelf(state, domain)
        if entry.id not in spared
    ]


def _nothing(waiting: Sequence[Entry]) -> str:
    if waiting:
        return "nothing passed"
    return "only strangers' patches are here: judged already, or waiting for their turn"


def _screen(this: Round, waiting: Sequence[Entry]) -> list[Patch]:
    """Refuse what fails the screens, which need no model; return the rest, sorted by id."""
    context, passed = this.context, []
    around = Surroundings(context.base, context.engine.norms(), _usual_norms(this))
    for entry in waiting:
        patch, verdict = _screen_one(context, entry, around)
        if patch is not None and verdict.accepted:
            passed.append(patch)
        else:
            this.settle(entry.id, entry.author, "refused", verdict)
    return sorted(passed, key=lambda patch: patch.id)


def _usual_norms(this: Round) -> list[Norms]:
    """Return how much is changed by what serves: of each author the largest change.

    An author with many small ones would else decide what is too large for everybody, and so
    would several with one tiny one each: what is below a quarter of the largest is no measure,
    and nobody is refused for being as large as what serves.
    """
    largest: dict[bytes, Norms] = {}
    for generation in this.now:
        for served in (generation.specialist, *generation.experts):
            if served is None or (adapter := this.context.adapters.find(served)) is None:
                continue
            norms = delta_norms(adapter)
            known = largest.get(served.author, {})
            if whole_norm(norms) > whole_norm(known):
                largest[served.author] = norms
    most = max(map(whole_norm, largest.values()), default=0.0)
    return [norms for norms in largest.values() if whole_norm(norms) * LARGE >= most]


def _screen_one(
    context: NodeContext, entry: Entry, around: Surroundings
) -> tuple[Patch | None, Verdict]:
    try:
        patch = context.adapters.patch(entry.id)
    except (PeerError, MissingBlobError) as error:
        # It was whole when it came in, so this disk lost it: nobody else's fault.
        lost = f"its payload is lost: {error.what}"
        return None, Verdict(accepted=False, layer="format", code="payload.lost", why=lost)
    verdict = screen(patch.adapter, around)
    try:
        context.engine.check(patch.adapter)
    except AdapterMismatchError as error:
        verdict = Verdict(
            accepted=False, layer="policy", code="policy.shape", why=error.what, fault="author"
        )
    return patch, verdict


def _measure(this: Round, patches: Sequence[Patch]) -> list[Patch]:
    """Measure each patch alone on the own holdout; refuse outliers of a cohort."""
    rows, context = this.probes.own, this.context
    if len(rows) < N_MIN:
        return list(patches)
    base = measure.losses(context, rows, None)
    losses = {p.id: measure.losses(context, rows, p.adapter) for p in patches}
    means = {patch: sum(values) / len(values) for patch, values in losses.items()}
    kept = []
    for patch in patches:
        gain = paired_gain(base, losses[patch.id], seed=context.config.seed)
        this.gains[patch.id] = gain
        verdict = rules.judge_outlier(means[patch.id], list(means.values()), gain)
        if verdict.accepted:
            kept.append(patch)
        else:
            this.settle(patch.id, patch.body.author, "refused", verdict)
    return kept


def _set_guilty_aside(this: Round, patches: Sequence[Patch]) -> list[Patch]:
    """Let the patches of authors at fault rest this round; return the others.

    One hand made the batch. A patch that itself harms goes on: what harms gets no
    weight, and its verdict says so.
    """
    harms = {p.id for p in patches if reputation.judgement(this.gain(p.id)) == "harm"}
    guilty = this.at_fault | {p.body.author for p in patches if p.id in harms}
    kept = []
    for patch in patches:
        if patch.body.author in guilty and patch.id not in harms:
            this.settle(patch.id, patch.body.author, "sandboxed", rules.BESIDE_A_FAULT)
        else:
            kept.append(patch)
    return kept
