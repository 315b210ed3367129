"""What a caller gives is refused at the door, with a remedy, before anything happens."""

import pytest

from hivelearn.errors import UsageError
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.node.config import NodeConfig

WRONG = {
    "no conversation": lambda node: node.correct(None, "a", domain="d"),
    "a number as conversation": lambda node: node.correct(5, "a", domain="d"),
    "a list as wrong answer": lambda node: node.correct("q", "a", domain="d", wrong=[]),
    "half a character": lambda node: node.ask("\ud800"),
    "half a character as answer": lambda node: node.score([("q", "\ud800")]),
    "no pair": lambda node: node.score([("q",)]),
    "a number of pairs": lambda node: node.score(5),
    "one prompt as many": lambda node: node.ask_many("hi"),
    "a number of prompts": lambda node: node.ask_many(5),
    "a temperature that overflows": lambda node: node.ask("q", temperature=1e-320),
    "a temperature in words": lambda node: node.ask("q", temperature="hot"),
    "half a token": lambda node: node.ask("q", max_new_tokens=2.5),
    "tokens without end": lambda node: node.ask("q", max_new_tokens=10**30),
    "a seed of 71 bits": lambda node: node.ask("q", temperature=1.0, seed=2**70),
    "a seed in words": lambda node: node.ask("q", temperature=1.0, seed="x"),
    "a number as expert": lambda node: node.ask("q", experts=[5]),
    "a number of experts": lambda node: node.ask("q", experts=5),
    "a number as domain": lambda node: node.ask("q", 5),
    "no domain name": lambda node: node.ask("q", "No Such"),
    "a number as key": lambda node: node.vouch(5),
    "bytes as key": lambda node: node.vouch(bytes(32)),
    "half a character as key": lambda node: node.vouch("hl1\ud800"),
    "a number as key of a former friend": lambda node: node.unvouch(5),
    "text as decision to adopt": lambda node: node.merge("d", adopt="no"),
    "a rank that cannot serve": lambda node: node.merge("d", recipe=MergeRecipe(rank=65)),
    "a number as note": lambda node: node.vouch(node.key, note=5),
    "text as adapter": lambda node: node.seal("x", domain="d"),
    "a number as recipe": lambda node: node.train("d", 5),
    "text as recipe of a merge": lambda node: node.merge("d", recipe="ties"),
    "a list as domain": lambda node: node.merge(["d"]),
    "text as report": lambda node: node.adopt("report"),
    "nothing to forget": lambda node: node.corrections.forget(),
    "two things to forget": lambda node: node.corrections.forget("0" * 64, domain="d"),
}


@pytest.fixture(scope="module")
def node(folder, tmp_path_factory):
    from hivelearn.node.node import Node

    return Node(folder, home=tmp_path_factory.mktemp("arguments") / "home")


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_argument_is_the_callers_fault_and_changes_nothing(node, call):
    with pytest.raises(UsageError) as caught:
        call(node)
    assert caught.value.remedy
    assert node.status().domains == ()


@pytest.mark.parametrize("temperature", [1e-3, 1, 2, 1e3])
def test_every_temperature_that_is_taken_can_be_sampled(node, temperature):
    assert isinstance(node.ask("Hi", temperature=temperature, max_new_tokens=3).text, str)


def test_iterators_are_as_good_as_lists(node):
    assert len(node.ask_many(iter(["one?", "two?"]), max_new_tokens=2)) == 2
    assert len(node.score(zip(["one?"], ["two"], strict=True))) == 1


SETTINGS = [
    {"max_new_tokens": float("nan")},
    {"max_new_tokens": 2.5},
    {"seed": "x"},
    {"seed": -1},
    {"recipe": 5},
    {"safety": None},
    {"caps": {}},
    {"home": 5},
    {"engine": 5},
    {"engine_options": "cpu"},
    {"progress": "no"},
    {"base_texts": "many"},
    {"strangers_per_merge": -1},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_setting_of_the_wrong_kind_is_refused(settings):
    with pytest.raises(UsageError) as caught:
        NodeConfig(**settings)
    (name,) = settings
    assert caught.value.remedy.startswith(f"Give {name} as ")


def test_a_home_may_be_written_as_text(tmp_path):
    assert NodeConfig(home=str(tmp_path)) == NodeConfig(home=tmp_path)


def test_a_setting_that_no_node_has_is_told_with_the_one_that_was_meant():
    from hivelearn.node.config import NodeConfig

    with pytest.raises(UsageError, match="did you mean 'base_texts'"):
        NodeConfig(base_text=40)
