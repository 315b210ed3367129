"""What a rollback takes out can be had again, when somebody asks for it."""

import pytest

from hivelearn.device.limits import SAFETY
from hivelearn.errors import UsageError
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import open_context
from hivelearn.node.learn import train
from hivelearn.node.merge import merge


@pytest.fixture
def admitted(make, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    kit.send(patch, node)
    assert node.merge("yes").outcome == "admitted"
    return node


def state(node, patch):
    return node.context.shelf.get(patch.id).state


def test_an_admission_rolled_back_is_had_again_by_asking(admitted, kit, author):
    _, patch = author
    admitted.rollback("yes")
    assert state(admitted, patch) == "sandboxed"
    question = kit.prompts("yes", 1, held=True)[0]
    assert admitted.ask(question, max_new_tokens=1).route.mode == "base"
    named = admitted.ask(question, experts=[patch.id.hex()], max_new_tokens=1)
    assert named.route.experts == (patch.id.hex(),)
    assert admitted.merge("yes").outcome == "admitted"
    assert state(admitted, patch) == "admitted"
    assert admitted.ask(question, max_new_tokens=1).route.mode == "routed"


def test_a_merge_rolled_back_is_had_again_by_asking(kit, author, beginner):
    owner, patch = author
    node = beginner()
    node.vouch(owner.key)
    kit.send(patch, node)
    first = node.merge("yes")
    assert (first.outcome, state(node, patch)) == ("adopted", "merged")
    node.rollback("yes")
    assert state(node, patch) == "sandboxed"
    again = node.merge("yes")
    assert (again.outcome, again.own) == (first.outcome, first.own)
    assert again.generation == 4


def test_a_candidate_adopted_and_rolled_back_is_had_again(make, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    kit.send(patch, node)
    node.adopt(node.merge("yes", adopt=False))
    node.rollback("yes")
    assert state(node, patch) == "sandboxed"
    assert node.merge("yes").outcome == "admitted"


def test_a_background_run_leaves_alone_what_its_owner_took_back_until_asked(admitted, author):
    _, patch = author
    context = admitted.context
    admitted.rollback("yes")
    assert merge.merge(context, "yes", again=False).outcome == "nothing to judge"
    assert state(admitted, patch) == "sandboxed"
    report = admitted.merge("yes", adopt=False)  # asked, and left as a candidate
    assert report.outcome == "candidate"
    assert merge.merge(context, "yes", again=False).outcome == "admitted"


def test_what_an_earlier_generation_serves_too_stays(make, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    kit.send(patch, node)
    node.merge("yes")
    kit.teach(node, "yes", "yes yes", 16)
    node.train("yes")  # nothing held out: the expert stays beside the specialist
    node.rollback("yes")
    assert state(node, patch) == "admitted"
    assert [e.patch for e in node.rollback("yes").experts] == []
    assert state(node, patch) == "sandboxed"


def test_where_there_is_nothing_no_model_is_opened_and_words_say_so(make, kit):
    node = make()
    context = open_context(node.context.folder, NodeConfig(home=node.home))
    with pytest.raises(UsageError, match="no corrections to train on in 'yes'"):
        train.train(context, "yes", kit.TINY, SAFETY)
    report = merge.merge(context, "yes")
    assert str(report) == "yes: nothing to judge: nothing arrived; nothing changed"
    assert not context.is_open
