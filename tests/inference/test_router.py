"""Laws of the claim: abstain, be fair to the senior, never gain by what one says of oneself."""

from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.inference.route import Route
from hivelearn.inference.router import (
    Claim,
    ExpertProfile,
    Surprise,
    by_domain,
    card,
    granted,
    route,
    surprises,
)
from hivelearn.patch.manifest import RouterCard

NATS = st.floats(0, 20)
SEEN = st.builds(Surprise, NATS, st.floats(-20, 20))
CLAIMS = st.builds(Claim, NATS, st.floats(0, 5))
EXPERTS = st.lists(st.tuples(CLAIMS | st.none(), SEEN, st.booleans()), max_size=6).map(
    lambda rows: (
        [ExpertProfile(f"e{i}", "d", claim, trusted) for i, (claim, _, trusted) in enumerate(rows)],
        {f"e{i}": seen for i, (_, seen, _) in enumerate(rows)},
    )
)
BASE = Route((), "base", None)


def own(n, loss=1.0, ratio=2.0):
    """How ``n`` prompts of an expert's own look to it: alike, but for a tenth of a nat."""
    return [Surprise(loss + i / (10 * n), ratio + i / (10 * n)) for i in range(n)]


@given(EXPERTS)
def test_somebody_trusted_who_claims_the_prompt_answers_or_nobody(drawn):
    experts, seen = drawn
    claiming = {e.id for e in experts if e.trusted and e.claim and e.claim.holds(seen[e.id])}
    found = route(seen, experts)
    if not claiming:
        assert found == BASE
        return
    (chosen,) = found.experts
    assert chosen in claiming
    assert (found.mode, found.confidence) == ("routed", seen[chosen].ratio)


@given(EXPERTS, st.data())
def test_a_larger_claim_takes_nothing_that_another_claims(drawn, data):
    """Whoever answers a contested prompt is settled by what was measured, not by how much."""
    experts, seen = drawn
    before = route(seen, experts)
    if not before.experts:
        return
    liar = data.draw(st.sampled_from(experts))
    claims = [e for e in experts if e.trusted and e.claim and e.claim.holds(seen[e.id])]
    louder = [
        ExpertProfile(e.id, e.domain, Claim(1e3, -1e3), e.trusted) if e is liar else e
        for e in experts
    ]
    after = route(seen, louder)
    if liar in claims:
        assert after == before
    elif after.experts == (liar.id,):  # it spoke up: as a senior, or as clearly better
        (rival,) = before.experts
        earlier = [e.id for e in experts].index(liar.id) < [e.id for e in experts].index(rival)
        assert earlier or seen[liar.id].ratio >= 1.5 * seen[rival].ratio


def test_a_prompt_that_surprises_nobody_is_not_everybodys():
    expert = ExpertProfile("dates", "iso-date", Claim(ceiling=1.6, floor=0.6))
    assert route({"dates": Surprise(loss=0.8, ratio=0.1)}, [expert]) == BASE
    assert route({"dates": Surprise(loss=0.8, ratio=2.6)}, [expert]).mode == "routed"


def test_familiar_words_about_something_else_are_not_claimed():
    expert = ExpertProfile("dates", "iso-date", Claim(ceiling=1.6, floor=0.6))
    assert route({"dates": Surprise(loss=4.0, ratio=2.6)}, [expert]) == BASE


def test_a_prompt_without_words_is_nobodys():
    expert = ExpertProfile("a", "x", Claim(9.0, -9.0))
    assert route({"a": Surprise(nan, nan)}, [expert]) == BASE


def test_the_senior_answers_unless_a_junior_is_clearly_better():
    senior, junior = (ExpertProfile(name, "x", Claim(9.0, 0.1)) for name in ("old", "new"))
    for ratio, expected in ((2.0, "old"), (2.9, "old"), (3.1, "new")):
        seen = {"old": Surprise(3.0, 2.0), "new": Surprise(5.0 - ratio, ratio)}
        assert route(seen, [senior, junior]).experts == (expected,)


def test_whom_the_owner_vouches_for_yields_to_nobody_else():
    known = ExpertProfile("known", "x", Claim(9.0, 0.1), vouched=True)
    proven = ExpertProfile("proven", "x", Claim(9.0, 0.1))
    seen = {"known": Surprise(2.0, 1.0), "proven": Surprise(0.5, 2.5)}
    assert route(seen, [known, proven]).experts == ("known",)
    assert route(seen, [proven, known]).experts == ("proven",)
    also_known = ExpertProfile("proven", "x", Claim(9.0, 0.1), vouched=True)
    assert route(seen, [known, also_known]).experts == ("proven",)


@given(st.lists(SEEN, min_size=20, max_size=90))
def test_a_card_covers_its_own_holdout_but_for_one_in_forty(seen):
    made = card(seen)
    outside = [s for s in seen if not Claim(made.ceiling, made.floor - 1e-9).holds(s)]
    # A prompt that the base knows better than the expert is nobody's, held out or not.
    assert len([s for s in outside if s.ratio > 0]) <= 2 * (len(seen) // 40)
    assert min(s.loss for s in seen) <= made.median <= max(s.loss for s in seen)


def test_the_edges_lie_a_quarter_of_the_range_beyond_the_holdout_and_a_little():
    seen = [Surprise(1.0 + i % 2, 3.0 + i % 2) for i in range(20)]
    made = card(seen)
    assert made.ceiling == pytest.approx(2.0 + 0.25 * 1.0 + 0.05)
    assert made.floor == pytest.approx(3.0 - 0.25 * 1.0 - 0.05)


def test_nineteen_prompts_make_no_card():
    assert card(own(19)) is None
    assert card(own(20)) is not None


def test_one_slip_of_the_pen_in_forty_moves_no_edge():
    slip = Surprise(15.0, 0.1)
    assert card([*own(40), slip]) == card([*own(40), Surprise(1.0975, 2.0)])


@given(NATS, st.floats(0, 5), st.lists(st.lists(SEEN, max_size=50), max_size=3))
def test_what_is_granted_lies_above_the_receivers_own_texts_whatever_is_claimed(
    ceiling, floor, foreign
):
    claim = granted(RouterCard(1.0, ceiling, floor), foreign)
    assert claim.floor >= floor
    assert claim.ceiling == ceiling
    for kind in foreign:
        assert sum(claim.holds(each) for each in kind) <= len(kind) // 40


def test_a_claim_without_foreign_texts_stands():
    assert granted(RouterCard(1.0, 3.0, 0.5), []) == Claim(3.0, 0.5)
    assert granted(RouterCard(1.0, 3.0), [[]]).floor > 0  # no card claims what the base knows


def test_a_text_without_words_moves_nothing():
    assert granted(RouterCard(1.0, 3.0, 0.5), [[Surprise(nan, nan), Surprise(1, 1)]]).floor == 1


def test_surprises_pair_an_experts_losses_with_the_bases():
    assert surprises([1.0, 2.0], [3.0, 1.5]) == [Surprise(1.0, 2.0), Surprise(2.0, -0.5)]


def test_in_a_stated_domain_the_own_specialist_comes_before_every_foreign_expert():
    claim = Claim(9.0, 0.1)
    experts = [
        ExpertProfile("mine", "x", None, own=True),
        ExpertProfile("foreign", "x", claim),
        ExpertProfile("elsewhere", "y", claim, own=True),
    ]
    seen = {"foreign": Surprise(0.1, 5.0), "mine": Surprise(5.0, 0.1)}
    assert by_domain("x", seen, experts).experts == ("mine",)
    assert by_domain("x", {}, experts).experts == ("mine",)  # nobody need be measured


def test_a_stated_domain_is_answered_by_its_senior_or_who_is_clearly_better():
    experts = [
        ExpertProfile("a", "x", Claim(1.0, 0.1)),
        ExpertProfile("b", "x", None),
        ExpertProfile("c", "x", Claim(9.0, 0.1), trusted=False),
        ExpertProfile("d", "y", Claim(9.0, 0.1)),
    ]
    best = Surprise(0.1, 9.0)
    seen = {"a": Surprise(2.0, 1.0), "b": Surprise(1.9, 1.1), "c": best, "d": best}
    assert by_domain("x", seen, experts) == Route(("a",), "stated", None)
    seen["b"] = Surprise(1.4, 1.6)
    assert by_domain("x", seen, experts) == Route(("b",), "stated", None)
    seen |= {"a": Surprise(9.0, -3.0), "b": Surprise(8.5, -2.5)}  # neither knows it
    assert by_domain("x", seen, experts).experts == ("a",)
    assert by_domain("y", {}, experts) == Route(("d",), "stated", None)
    assert by_domain("z", seen, experts) == BASE


def seated(name, author, *, claim=True, domain="dates"):
    claimed = Claim(9.0, 0.0) if claim else Claim(0.0, 9.0)
    return ExpertProfile(name, domain, claimed, vouched=True, author=author)


ALIKE, BETWEEN = Surprise(1.0, 2.0), seated("between", b"b")


@pytest.mark.parametrize(
    ("experts", "answers"),
    [
        ([seated("old", b"a"), BETWEEN, seated("new", b"a")], "new"),
        # A harmless expert holds no seat for a later one that claims something else.
        ([seated("old", b"a", claim=False), BETWEEN, seated("new", b"a")], "between"),
        ([seated("old", b"a", domain="x"), BETWEEN, seated("new", b"a")], "old"),
        ([seated("old", b"a"), seated("new", b"a", claim=False)], "old"),
    ],
)  # fmt: skip
def test_an_authors_later_expert_answers_what_the_earlier_one_claims_too(experts, answers):
    seen = {each.id: ALIKE for each in experts}
    assert route(seen, experts).experts == (answers,)
