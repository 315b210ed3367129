"""The other end of `node.merge`: patches about what this node knows itself are merged in.

Trust gives the weights, the own holdout decides. What trust does not give to
others stays with the specialist that serves now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hivelearn.gate import probes, rules
from hivelearn.gate.gain import Gain, Measure
from hivelearn.merging.errors import MergeError
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.method_table import TABLE, operator
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.node import measure, reputation
from hivelearn.node.ask import experts
from hivelearn.node.merge.round import Round
from hivelearn.node.reports import RoundReport
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Patch
from hivelearn.patch.limits import PATCH_RANK_MAX
from hivelearn.patch.verdict import Verdict
from hivelearn.store.generations import Generation, Served
from hivelearn.store.shelf import State


def merge_into_own(
    this: Round, patches: Sequence[Patch], recipe: MergeRecipe | None, *, adopt: bool
) -> RoundReport:
    """Merge into the domain's specialist by trust and measured gain, then judge the result."""
    shares = _shares(this, patches)
    if not any(shares.values()):
        verdict = Verdict(
            accepted=False,
            layer="rule",
            code="fit.no-weight",
            why="nothing measured better than the base",
        )
        _settle(this, patches, verdict, {})
        return this.conclude("no lift", _own_gain(this, _incumbent(this)), why=verdict.why)
    candidate = _merged(_incumbent(this), patches, shares, recipe)
    found, trial = _trial(this, candidate)
    verdict = rules.judge_merge(found)
    _settle(this, patches, verdict, shares)
    if not verdict.accepted:
        return this.conclude("no lift", found.own, found, why=verdict.why)
    this.context.blobs.put(candidate.to_bytes(), candidate.root().hex())
    return this.conclude("adopted", found.own, found, new=trial, adopt=adopt)


def _settle(
    this: Round, patches: Sequence[Patch], verdict: Verdict, shares: Mapping[bytes, float]
) -> None:
    """Send all to one place: those that moved the merge, and with it those that rest."""
    for patch in patches:
        share = shares.get(patch.id)
        if verdict.accepted and not share:
            rests = Verdict(
                accepted=False, layer="rule", code="fit.no-weight", why="it got no weight"
            )
            this.settle(patch.id, patch.body.author, "sandboxed", rests, share)
        else:
            state: State = "merged" if verdict.accepted else "sandboxed"
            this.settle(patch.id, patch.body.author, state, verdict, share)


def _incumbent(this: Round) -> Adapter:
    served = this.incumbent.specialist
    assert served is not None
    return this.context.adapters.get(served)


def _shares(this: Round, patches: Sequence[Patch]) -> dict[bytes, float]:
    """Return each patch's weight: its author's share, divided among the author's patches."""
    lows: dict[bytes, list[float]] = {}
    for patch in patches:
        gain = this.gains[patch.id]
        if isinstance(gain, Gain):
            lows.setdefault(patch.body.author, []).append(gain.low)
    weights = reputation.weights(this.context, {author: max(low) for author, low in lows.items()})
    return {
        patch.id: weights.shares[patch.body.author] / len(lows[patch.body.author])
        for patch in patches
        if patch.body.author in lows
    }


def bounded(recipe: MergeRecipe) -> MergeRecipe:
    """Return ``recipe`` as a node may use it: what trust has not given moves nothing.

    Entry by entry, a mean over those that agree would give a stranger's twentieth all
    of an entry where the specialist is silent; so here the sum is taken, of weights
    that add up to one.

    Raises:
        MergeError: weights or settings by source, which are trust's to give; a method
            in which a small weight may decide alone.
    """
    op = operator(recipe.method)
    if recipe.weights or any(isinstance(v, tuple) for v in recipe.settings.values()):
        raise MergeError(
            "a node merges by trust, and cannot know beforehand whose patches pass",
            remedy="Leave weights, t and settings by source out of the recipe.",
        )
    if not op.by_weight or op.rows_max is not None:
        raise MergeError(
            f"in {op.name!r} a small weight may decide alone, so trust would not bound it",
            remedy=f"Use one of: {', '.join(n for n, row in TABLE.items() if row.by_weight)}.",
        )
    if any(param.name == "normalize" for param in op.params):
        return replace(recipe, params={**recipe.settings, "normalize": False})
    return recipe


def _merged(
    incumbent: Adapter,
    patches: Sequence[Patch],
    shares: Mapping[bytes, float],
    recipe: MergeRecipe | None,
) -> Adapter:
    """Merge by weight; what is not given to others stays with the incumbent."""
    moving = [patch for patch in patches if shares.get(patch.id)]
    given = [shares[patch.id] for patch in moving]
    weights = (1.0 - sum(given), *given)
    ranks = [incumbent.rank, *(patch.adapter.rank for patch in moving)]
    wanted = bounded(recipe or MergeRecipe())
    plan = replace(wanted, weights=weights, rank=wanted.rank or max(ranks))
    parts = [incumbent, *(patch.adapter for patch in moving)]
    made = merge(parts, plan, progress=False)
    if made.rank > PATCH_RANK_MAX:
        raise MergeError(
            f"this merge has rank {made.rank}, and what serves may have {PATCH_RANK_MAX}",
            remedy=f"Give the recipe a rank of at most {PATCH_RANK_MAX}.",
        )
    return made


def _trial(this: Round, candidate: Adapter) -> tuple[rules.Evidence, Generation]:
    """Return the evidence for serving ``candidate`` instead, and the generation it would be."""
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
    found = replace(found, own=_own_gain(this, candidate))
    return found, replace(trial, why=f"merged. own {found.own}")


def _own_gain(this: Round, candidate: Adapter) -> Measure:
    """Return the gain at home, adapter against adapter: what the router does is not in it."""
    engine = this.context.engine
    return probes.gain(
        this.probes.own,
        probes.serving(engine, _incumbent(this)),
        probes.serving(engine, candidate),
        seed=this.context.config.seed,
    )
