"""Own before foreign: what a domain's experts become when the node knows it itself."""

import pytest

from hivelearn.node.ask import experts
from hivelearn.testing.hostile import shelf_state


@pytest.fixture
def node(make, kit, author):
    """A node that admitted the author's expert, and then learnt the domain itself."""

    def get(held):
        owner, patch = author
        node = make()
        node.vouch(owner.key)
        kit.send(patch, node)
        assert node.merge("yes").outcome == "admitted"
        kit.teach(node, "no", "yes yes", 16, held)
        kit.teach(node, "yes", "no", 16, held)  # here the expert says something else
        assert node.train("yes")
        assert node.last_training.adopted
        return node

    return get


def test_a_stated_domain_is_answered_by_the_own_specialist_while_there_is_one(node, kit, author):
    alone = node(held=4)  # too few to judge anybody by: the expert stays on the experts
    mine = alone.last_training.patch
    assert shelf_state(alone, author[1]) == "admitted"
    assert len(experts.current(alone.context).experts) == 2
    answers = alone.ask_many(kit.prompts("yes", 6, held=True), "yes", max_new_tokens=1)
    assert {answer.route.experts for answer in answers} == {(mine,)}


def test_a_domain_that_becomes_own_sends_its_experts_back_to_be_judged(node, kit, author):
    ours = node(held=24)
    patch, mine = author[1], ours.last_training.patch
    assert shelf_state(ours, patch) == "quarantined"
    assert [e.about.id for e in experts.current(ours.context).experts] == [mine]
    questions = kit.prompts("yes", 6, held=True)
    for domain in ("yes", None):
        answers = ours.ask_many(questions, domain, max_new_tokens=1)
        assert author[1].id.hex() not in {e for a in answers for e in a.route.experts}
    report = ours.merge("yes")  # by own corrections now: merged or not, but no expert any more
    assert [judged.gain.n for judged in report.patches] == [24]
    assert shelf_state(ours, patch) == ("merged" if report else "sandboxed")
    assert ours.context.generations.current(ours.base, "yes").experts == ()


def test_a_rollback_of_the_training_brings_the_experts_back(node, kit, author):
    ours = node(held=24)
    restored = ours.rollback("yes")
    assert [expert.patch for expert in restored.experts] == [author[1].id]
    assert shelf_state(ours, author[1]) == "admitted"
    assert ours.merge("yes").outcome == "nothing to judge"
    routes = {a.route.experts for a in ours.ask_many(kit.prompts("yes", 3, held=True), "yes")}
    assert routes == {(author[1].id.hex(),)}
