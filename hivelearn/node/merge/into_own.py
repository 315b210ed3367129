"""The other end of `node.merge`: patches about what this node knows itself are merged in.

Trust says how much of a merge anybody may move, the own holdout how much of that is
taken (`choose.py`) and whether the result serves. What is not given to others stays
with the specialist that serves now.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hivelearn.gate import probes, rules
from hivelearn.gate.gain import Gain, Measure, paired_gain
from hivelearn.merging.errors import MergeError
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.method_table import TABLE, operator
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.node import reputation
from hivelearn.node.merge.choose import Choice, choose
from hivelearn.node.merge.round import Round
from hivelearn.node.merge.trial import incumbent, tried
from hivelearn.node.reports import RoundReport
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Patch
from hivelearn.patch.limits import PATCH_RANK_MAX
from hivelearn.patch.verdict import Verdict
from hivelearn.store.shelf import State

if TYPE_CHECKING:
    from hivelearn.inference.chat import Example


def merge_into_own(
    this: Round, patches: Sequence[Patch], recipe: MergeRecipe | None, *, adopt: bool
) -> RoundReport:
    """Merge into the domain's specialist what adds to it, then judge the result."""
    choice = _choice(this, patches, recipe)
    own = _gain(this, choice.before, choice.after)
    if not choice.shares:
        verdict = Verdict(
            accepted=False,
            layer="rule",
            code="fit.no-weight",
            why="nothing adds to what serves",
        )
        _settle(this, patches, verdict, {})
        return this.conclude("no lift", own, why=verdict.why)
    candidate = _merged(_incumbent(this), patches, choice.shares, recipe)
    found, trial = tried(this, candidate)
    if not (isinstance(own, Gain) and isinstance(found.own, Gain) and found.own.low < own.low):
        found = replace(found, own=own)  # what the rows say that did not choose it
    trial = replace(trial, why=f"merged. own {found.own}")
    verdict = rules.judge_merge(found)
    _settle(this, patches, verdict, choice.shares)
    if not verdict.accepted:
        return this.conclude("no lift", found.own, found, why=verdict.why)
    this.context.blobs.put(candidate.to_bytes(), candidate.root().hex())
    return this.conclude("adopted", found.own, found, new=trial, adopt=adopt)


def _settle(
    this: Round, patches: Sequence[Patch], verdict: Verdict, shares: Mapping[bytes, float]
) -> None:
    """Send all to one place: those that moved the merge, and with it those that rest."""
    for patch in patches:
        share = shares.get(patch.id, 0.0)
        if verdict.accepted and not share:
            rests = Verdict(
                accepted=False,
                layer="rule",
                code="fit.no-weight",
                why="it adds nothing to the others",
            )
            this.settle(patch.id, patch.body.author, "sandboxed", rests, share)
        else:
            state: State = "merged" if verdict.accepted else "sandboxed"
            this.settle(patch.id, patch.body.author, state, verdict, share)


def _incumbent(this: Round) -> Adapter:
    found = incumbent(this)
    assert found is not None, "the domain is ours, so it has a specialist"
    return found


def _choice(this: Round, patches: Sequence[Patch], recipe: MergeRecipe | None) -> Choice:
    """Return how much of each patch to take. What is no better than the base is not tried."""
    incumbent, engine = _incumbent(this), this.context.engine
    gains = {p.id: gain for p in patches if isinstance(gain := this.gain(p.id), Gain)}
    better = [patch for patch, gain in gains.items() if gain.low > 0]
    authors = {patch.id: patch.body.author for patch in patches}

    def allow(some: Collection[bytes]) -> dict[bytes, float]:
        """Give each author's share to the author's patches in equal parts."""
        count = Counter(authors[patch] for patch in some)
        equal = dict.fromkeys(count, 1.0)  # how much a patch adds is what the search finds
        shares = reputation.weights(this.context, this.domain, equal).shares
        return {patch: shares[authors[patch]] / count[authors[patch]] for patch in some}

    def evaluate(shares: Mapping[bytes, float], rows: "Sequence[Example]") -> list[float]:
        made = _merged(incumbent, patches, shares, recipe) if shares else incumbent
        return probes.answer_losses(engine, rows, made)

    order = sorted(better, key=lambda patch: (-gains[patch].mean, patch))
    return choose(order, this.probes.own, allow, evaluate)


def bounded(recipe: MergeRecipe) -> MergeRecipe:
    """Return ``recipe`` as a node may use it: what trust has not given moves nothing.

    Entry by entry, a mean over those that agree would give a stranger's twentieth all
    of an entry where the specialist is silent; so here the sum is taken, of weights
    that add up to one.

    Raises:
        MergeError: weights or settings by source, which are trust's to give; a method
            in which a small weight may decide alone; a rank that cannot serve.
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
    if isinstance(recipe.rank, int):
        _check_rank(recipe.rank)
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
    _check_rank(made.rank)
    return made


def _check_rank(rank: int) -> None:
    if rank > PATCH_RANK_MAX:
        raise MergeError(
            f"this merge has rank {rank}, and what serves may have {PATCH_RANK_MAX}",
            remedy=f"Give the recipe a rank of at most {PATCH_RANK_MAX}.",
        )


def _gain(this: Round, before: Sequence[float], after: Sequence[float]) -> Measure:
    return paired_gain(before, after, seed=this.context.config.seed)
