"""A domain that nobody here has heard of is told, not answered by the base in silence."""

import pytest

from hivelearn.errors import UsageError

ASKING = {
    "one": lambda node, domain: node.ask("Hi", domain, max_new_tokens=2),
    "many": lambda node, domain: node.ask_many(["Hi"], domain, max_new_tokens=2),
    "a stream": lambda node, domain: node.stream("Hi", domain, max_new_tokens=2).answer,
    "a score": lambda node, domain: node.score([("Hi", "yes")], domain),
}


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING.keys())
def test_an_unknown_domain_is_refused_with_a_near_one(make, ask):
    node = make()
    node.correct("14?", "XIV", domain="roman")
    node.correct("2 pm?", "14:00", domain="clock24")
    with pytest.raises(UsageError, match="about 'romam'") as near:
        ask(node, "romam")
    assert near.value.remedy == "Did you mean 'roman'?"
    with pytest.raises(UsageError) as far:
        ask(node, "cooking")
    assert "clock24, roman" in far.value.remedy
    ask(node, "roman")  # no specialist yet, and asking is possible


def test_a_home_without_any_domain_says_so(make):
    with pytest.raises(UsageError, match="about 'roman'") as caught:
        make().ask("Hi", "roman")
    assert "no corrections" in caught.value.remedy


def test_a_domain_of_a_patch_or_a_generation_is_known(make, kit):
    node, friend = make("one"), make("two")
    kit.teach(friend, "yes", "yes yes")
    patch = friend.train("yes")
    assert friend.ask("Hi", "yes", max_new_tokens=2).route.mode == "stated"
    friend.corrections.forget(domain="yes")
    assert friend.ask("Hi", "yes", max_new_tokens=2).route.mode == "stated"
    kit.send(patch, node)
    assert node.ask("Hi", "yes", max_new_tokens=2).route.mode == "base"
