"""Laws of the ceiling: abstain, be fair to the earlier, never raise a claim."""

from hypothesis import given
from hypothesis import strategies as st

from hivelearn.inference.route import Route
from hivelearn.inference.router import ExpertProfile, by_domain, card, lowered, route

LOSSES = st.floats(0, 20)
EXPERTS = st.lists(st.tuples(LOSSES | st.none(), LOSSES, st.booleans()), max_size=6).map(
    lambda rows: (
        [
            ExpertProfile(f"e{i}", "d", ceiling, trusted)
            for i, (ceiling, _, trusted) in enumerate(rows)
        ],
        {f"e{i}": loss for i, (_, loss, _) in enumerate(rows)},
    )
)
BASE = Route((), "base", None)


@given(EXPERTS)
def test_the_one_furthest_below_its_ceiling_answers_or_nobody(drawn):
    experts, losses = drawn
    below = [
        (e.ceiling - losses[e.id], e.id)
        for e in experts
        if e.ceiling is not None and e.trusted and losses[e.id] < e.ceiling
    ]
    found = route(losses, experts)
    if not below:
        assert found == BASE
        return
    best = max(margin for margin, _ in below)
    first = next(name for margin, name in below if margin == best)
    assert found == Route((first,), "routed", best)


def test_none_below_its_ceiling_and_the_base_answers():
    experts = [ExpertProfile("a", "x", 1.0), ExpertProfile("b", "y", 1.0)]
    assert route({"a": 1.0, "b": 1.5}, experts) == BASE
    assert route({"a": float("nan"), "b": 2.0}, experts) == BASE  # no content: nobody's


def test_ties_go_to_the_earlier():
    experts = [ExpertProfile("a", "x", 2.0), ExpertProfile("b", "y", 1.0)]
    assert route({"a": 1.5, "b": 0.5}, experts).experts == ("a",)
    assert route({"a": 1.5, "b": 0.5}, experts[::-1]).experts == ("b",)


@given(LOSSES, st.lists(LOSSES))
def test_a_ceiling_is_only_ever_lowered(claimed, foreign):
    granted = lowered(claimed, foreign)
    assert granted <= claimed
    assert all(granted < loss for loss in foreign)


def test_a_claim_without_foreign_texts_stands():
    assert lowered(3.0, []) == 3.0


def test_a_question_without_words_lowers_nothing():
    assert lowered(3.0, [float("nan"), 2.0]) == 1.98


@given(st.lists(LOSSES, min_size=5, max_size=40))
def test_a_card_covers_its_own_holdout(losses):
    made = card(losses)
    assert made.ceiling > max(losses)
    assert min(losses) <= made.median <= max(losses)


def test_the_ceiling_is_max_plus_a_quarter_of_the_range_plus_a_little():
    assert card([1.0, 1.2, 1.4, 1.6, 3.0]).ceiling == 3.0 + 0.25 * 2.0 + 0.05


def test_four_prompts_make_no_card():
    assert card([1.0] * 4) is None


def test_in_a_stated_domain_the_own_specialist_comes_before_every_foreign_expert():
    experts = [
        ExpertProfile("foreign", "x", 9.0),
        ExpertProfile("mine", "x", None, own=True),
        ExpertProfile("elsewhere", "y", 9.0, own=True),
    ]
    assert by_domain("x", {"foreign": 0.1, "mine": 5.0}, experts).experts == ("mine",)
    assert by_domain("x", {}, experts).experts == ("mine",)  # nobody need be measured
    assert route({"foreign": 0.1, "elsewhere": 5.0}, experts).experts == ("foreign",)


def test_a_stated_domain_is_answered_by_its_least_surprised_trusted_expert():
    experts = [
        ExpertProfile("a", "x", 1.0),
        ExpertProfile("b", "x", None),
        ExpertProfile("c", "x", 9.0, trusted=False),
        ExpertProfile("d", "y", 9.0),
    ]
    losses = {"a": 2.0, "b": 1.5, "c": 0.1, "d": 0.1}
    assert by_domain("x", losses, experts) == Route(("b",), "stated", None)
    assert by_domain("y", {}, experts) == Route(("d",), "stated", None)
    assert by_domain("z", losses, experts) == BASE
