"""The second story: what arrives is screened, judged, merged or admitted, or says why not."""

from dataclasses import replace

import pytest
import torch

from hivelearn.errors import UsageError
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.node import own_records, reputation
from hivelearn.testing.hostile import changed, forged, shelf_state


def test_a_trusted_author_in_a_foreign_domain_is_admitted_and_routed_to(make, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key, "met in person")
    assert kit.send(patch, node)
    assert node.ask("What is yes 3?").route.mode == "base"  # quarantine serves nothing
    report = node.merge("yes")
    assert report.outcome == "admitted"
    assert report
    assert report.generation == 1
    assert "own unmeasured here" in str(report)
    assert shelf_state(node, patch) == "admitted"
    routes = {a.route for a in node.ask_many(kit.prompts("yes", 6, held=True), max_new_tokens=1)}
    assert {r.experts for r in routes} == {(patch.id.hex(),)}
    assert {r.mode for r in routes} == {"routed"}
    assert node.merge("yes").outcome == "nothing to judge"


def test_an_unknown_author_stays_in_the_sandbox_reachable_by_name_only(make, kit, author):
    _, patch = author
    node = make()
    kit.send(patch, node)
    report = node.merge("yes")
    assert report.outcome == "no lift"
    assert not report
    assert shelf_state(node, patch) == "sandboxed"
    question = kit.prompts("yes", 1, held=True)[0]
    assert node.ask(question).route.mode == "base"
    assert node.ask(question, "yes").route.mode == "base"
    for name in (patch.id.hex(), patch.id.hex()[:8].upper()):
        assert node.ask(question, experts=[name]).route.mode == "named"
    assert node.ask(question, experts=patch.id.hex()).route.experts == (patch.id.hex(),)
    for wrong in ("abcd1234" * 8, patch.id.hex()[:7], ""):
        with pytest.raises(UsageError, match=r"not here|ambiguous"):
            node.ask(question, experts=[wrong])


def test_an_author_vouched_for_later_leaves_the_sandbox(make, kit, author):
    owner, patch = author
    node = make()
    kit.send(patch, node)
    node.merge("yes")
    node.vouch(owner.key)
    assert node.merge("yes").outcome == "admitted"


def test_in_its_own_domain_it_merges_by_weights_and_adopts_what_is_better(kit, author, beginner):
    owner, patch = author
    node = beginner()
    node.vouch(owner.key)
    kit.send(patch, node)
    pairs = [(p, "yes yes") for p in kit.prompts("yes", 24, held=True)]
    before = sum(node.score(pairs, "yes"))
    report = node.merge("yes")
    assert report.outcome == "adopted"
    assert report.own.low > 0
    (judged,) = report.patches
    assert judged.weight == pytest.approx(0.20)  # the incumbent keeps the rest
    assert shelf_state(node, patch) == "merged"
    assert sum(node.score(pairs, "yes")) < before
    assert "adopted generation 2" in str(report)
    generation = node.context.generations.current(node.base, "yes")
    assert generation.specialist.patch is None
    assert node.ask("What is yes 1?", "yes").route.experts == (generation.specialist.payload,)


def test_a_merge_that_is_not_better_is_no_lift_and_changes_nothing(make, kit, author):
    owner, patch = author
    node = make()
    kit.teach(node, "yes", "yes yes", 24, 24)
    half = changed(patch, lambda b: b * 0.5)  # before its best size: smaller is worse
    assert node.adopt(node.seal(half, domain="yes"))
    node.vouch(owner.key)
    kit.send(forged(owner, patch, lambda b: b * 0.05), node)  # better than the base, and a drag
    before = node.context.generations.serving(node.base)
    report = node.merge("yes")
    assert report.outcome == "no lift"
    assert "nothing changed" in str(report)
    assert node.context.generations.serving(node.base) == before
    assert node.status().shelf == {"own": 1, "sandboxed": 1}


def test_an_unknown_author_moves_a_merge_by_five_percent_at_most(kit, author, beginner):
    _, patch = author
    node = beginner()
    kit.send(patch, node)
    (judged,) = node.merge("yes").patches
    assert judged.weight == pytest.approx(0.05)


def test_too_little_holdout_admits_instead_of_merging_and_says_so(make, kit, author):
    owner, patch = author
    node = make()
    kit.teach(node, "yes", "yes yes", 16, 7)
    node.train("yes", replace(kit.TINY, steps=2))
    node.vouch(owner.key)
    kit.send(patch, node)
    report = node.merge("yes")
    assert "too little evidence, n=7" in str(report)
    assert report.outcome == "admitted"


HOSTILE = {
    "NaN": (lambda b: b * float("nan"), "num.nonfinite"),
    "infinity": (lambda b: b + float("inf"), "num.nonfinite"),
    "a huge change": (lambda b: b * 1e4, "norm.base"),
}


@pytest.mark.parametrize(("change", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_patch_is_refused_and_its_author_blamed_once(make, kit, author, change, code):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    bad = forged(owner, patch, change)
    kit.send(bad, node)
    report = node.merge("yes")
    assert report.outcome == "nothing to judge"
    assert [(j.verdict.code, j.state) for j in report.patches] == [(code, "refused")]
    standing = reputation.standings(node.context, "yes")[owner.context.identity.author]
    assert standing.evidence.bad == 4  # one failure, counted fourfold
    assert shelf_state(node, bad) == "refused"
    assert not kit.send(bad, node)  # and never fetched again
    node.merge("yes")
    assert reputation.standings(node.context, "yes")[owner.context.identity.author] == standing


def test_a_patch_of_the_wrong_shape_is_refused_and_the_engine_never_sees_it(make, kit, author):
    owner, patch = author
    factors = {f"{name}_strange": pair for name, pair in patch.adapter.factors.items()}
    with owner.context.store.writing("forge"):
        bad = own_records.sign(owner.context, replace(patch.adapter, factors=factors), "yes")
    node = make()
    kit.send(bad, node)
    assert node.merge("yes").patches[0].verdict.code == "policy.shape"


def test_a_patch_that_harms_at_home_is_not_merged_and_its_author_is_blamed(kit, author, beginner):
    owner, patch = author
    node = beginner()
    node.vouch(owner.key)
    kit.send(forged(owner, patch, lambda b: -0.25 * b), node)  # -.15 nats
    report = node.merge("yes")
    assert report.outcome == "no lift"
    assert reputation.standings(node.context, "yes")[owner.context.identity.author].harms == 1
    assert report.patches[0].gain.high < 0


def test_a_good_patch_counts_once_however_often_it_is_measured(kit, author, beginner):
    owner, patch = author
    node = beginner()
    kit.send(patch, node)
    for _ in range(6):
        node.merge("yes", adopt=False)
    standing = reputation.standings(node.context, "yes")[owner.context.identity.author]
    assert standing.successes == 1
    assert not standing.proven


def test_what_trust_does_not_give_stays_with_the_incumbent(kit, author, beginner):
    """Reference: the dense sum .8 · own delta + .2 · theirs, module by module."""
    owner, patch = author
    node = beginner()
    node.vouch(owner.key)
    kit.send(patch, node)
    context = node.context
    old = context.adapters.get(context.generations.current(node.base, "yes").specialist)
    recipe = MergeRecipe(rank=4)  # the sum of both ranks: exact
    assert node.merge("yes", recipe=recipe).outcome == "adopted"
    new = context.adapters.get(context.generations.current(node.base, "yes").specialist)
    for name in new.factors:
        ours, mine, theirs = (
            a.scale * a.factors[name][1] @ a.factors[name][0] for a in (new, old, patch.adapter)
        )
        torch.testing.assert_close(ours, 0.8 * mine + 0.2 * theirs, atol=1e-5, rtol=1e-4)


def test_each_expert_is_compared_with_those_before_it_and_the_report_tells_of_all(
    make, kit, author
):
    owner, patch = author
    node = make()
    kit.teach(node, "yes", "yes yes", 1, 24)  # a holdout, and no specialist of its own
    node.vouch(owner.key)
    with owner.context.store.writing("sign twice"):
        twin = own_records.sign(owner.context, patch.adapter, "yes", card=patch.body.card)
    for each in (patch, twin):
        kit.send(each, node)
    report = node.merge("yes")
    assert report.outcome == "admitted"
    assert report.own.low > 0
    said = [judged.verdict.why for judged in report.patches]
    assert "own +0.000 nats" not in said[0]
    assert "own +0.000 nats" in said[1]  # the twin adds nothing to what is there
