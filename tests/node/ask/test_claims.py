"""An expert takes questions that are not its own: whatever its author claims, it does not.

On the nano model, where an expert of a few seconds knows its questions: a friend's expert
for ISO dates, and attackers who are vouched for too, else they would serve nowhere.
"""

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from hivelearn.demo import tasks
from hivelearn.inference.nano.tasks import held_out
from hivelearn.node import own_records
from hivelearn.node.ask import experts
from hivelearn.node.node import Node
from hivelearn.patch.manifest import RouterCard
from hivelearn.training.recipe import Recipe

QUESTIONS = 24
BRIEF = Recipe(steps=24, batch=4, rate=8e-3, rehearsal=0.0)
DATES, ROMAN = tasks.ISO_DATE, tasks.ROMAN


def lessons(domain, wrong=None):
    return [(pair.prompt, wrong or pair.answer) for pair in tasks.corrections(domain, 0, 30)]


ATTACKS = {
    "other questions": (lessons(ROMAN), BRIEF),
    "the same questions, answered wrongly": (lessons(DATES, "no"), BRIEF),
    "nothing but the same questions": (lessons(DATES, "no"), replace(BRIEF, prompt_weight=1.0)),
    "hardly anything": (lessons(DATES, "no"), replace(BRIEF, steps=1)),
}


def claims(honest):
    """Return cards with claims from .1 to 1000: honest medians, spreads, both, and neither."""
    spread = honest.ceiling - honest.median
    medians = [replace(honest, ceiling=each, floor=0.0) for each in (0.1, 0.75, 1.0, 1.5, 1000.0)]
    spreads = [RouterCard(max(0.0, top - spread), top) for top in (0.3, 1.5, 1000.0)]
    return [honest, *medians, *spreads, replace(honest, ceiling=1000.0), RouterCard(0.0, 1000.0)]


@pytest.fixture(scope="module")
def opened(kit, tmp_path_factory):
    """Return a function that opens a node on the nano model, whose clock goes on."""

    class Ticking(kit.Stage):
        def environment(self):
            later = count(kit.NOW_S)
            return replace(super().environment(), clock=lambda: float(next(later)))

    def get(name, home=None):
        home = home or tmp_path_factory.mktemp(name) / "home"
        settings = {"base_texts": 40, "progress": False, "device": "cpu"}
        return Node(home=home, environment=Ticking().environment(), **settings)

    return get


@pytest.fixture(scope="module")
def friend(opened, kit):
    """Return the friend's node and its expert, with a card from its own holdout."""
    node = opened("friend")
    with node.context.store.writing("teach"):
        for pair in tasks.corrections(DATES, 0, 160):
            node.correct(pair.prompt, pair.answer, domain=DATES.name)
    patch = node.train(DATES.name, BRIEF)
    assert patch.body.card is not None
    return node, patch


@pytest.fixture(scope="module")
def attacker(opened):
    return opened("attacker")


@pytest.fixture(scope="module")
def adapters(attacker):
    """Return what the attackers have trained, by attack."""
    made = {}
    for number, (name, (taught, recipe)) in enumerate(ATTACKS.items()):
        domain = f"attack-{number}"
        with attacker.context.store.writing("teach"):
            for prompt, answer in taught:
                attacker.correct(prompt, answer, domain=domain)
        made[name] = attacker.train(domain, recipe).adapter
    return made


@pytest.fixture
def node(opened, kit, friend, attacker, tmp_path):
    """A node that routes questions about dates to its friend's expert."""
    owner, patch = friend
    found = opened("receiver", Path(tmp_path / "home"))
    found.vouch(owner.key, "met in person")
    found.vouch(attacker.key)
    kit.send(patch, found)
    assert found.merge(DATES.name).outcome == "admitted"
    return found


def forge(kit, attacker, node, adapter, domain, cards):
    """Send a node the same adapter once for each card."""
    with attacker.context.store.writing("forge"):
        for card in cards:
            kit.send(own_records.sign(attacker.context, adapter, domain, card=card), node)


def taken(node, expert):
    """Return how many of the friend's questions ``expert`` takes."""
    prompts = [pair.prompt for pair in tasks.questions(DATES, 0, QUESTIONS)]
    rows = [node.context.engine.encoder.prompt(prompt) for prompt in prompts]
    routes = experts.current(node.context).routes(node.context.engine, rows)
    return sum(route.experts == (expert.id.hex(),) for route in routes)


@pytest.mark.parametrize("attack", ATTACKS)
def test_whatever_is_claimed_the_friends_questions_stay_with_the_friend(
    node, kit, friend, attacker, adapters, attack
):
    cards = claims(friend[1].body.card)
    forge(kit, attacker, node, adapters[attack], "cooking", cards)
    node.merge("cooking")
    assert len(experts.current(node.context).experts) == 1 + len(cards)  # they do serve
    assert taken(node, friend[1]) >= QUESTIONS - 1


@pytest.mark.parametrize("attack", ["other questions", "hardly anything"])
def test_nor_does_it_help_to_come_first(opened, kit, friend, attacker, adapters, attack, tmp_path):
    node = opened("receiver", Path(tmp_path / "home"))
    node.vouch(friend[0].key)
    node.vouch(attacker.key)
    forge(kit, attacker, node, adapters[attack], "cooking", claims(friend[1].body.card))
    node.merge("cooking")
    kit.send(friend[1], node)
    node.merge(DATES.name)
    assert taken(node, friend[1]) >= QUESTIONS - 1


def test_a_claim_on_the_stated_domain_takes_nothing_either(node, kit, friend, attacker, adapters):
    adapter = adapters["nothing but the same questions"]
    forge(kit, attacker, node, adapter, DATES.name, [RouterCard(0.0, 1000.0)])
    assert node.merge(DATES.name).outcome == "admitted"
    prompts = [pair.prompt for pair in tasks.questions(DATES, 0, 12)]
    answers = node.ask_many(prompts, domain=DATES.name, max_new_tokens=1)
    assert {a.route.experts for a in answers} == {(friend[1].id.hex(),)}


def test_no_claim_takes_what_the_base_knows(node, kit, attacker, adapters):
    for number, adapter in enumerate(adapters.values()):
        forge(kit, attacker, node, adapter, f"cooking-{number}", [RouterCard(0.0, 1000.0)])
        node.merge(f"cooking-{number}")
    items = held_out(60, seed=5)
    general = [node.context.engine.encoder.prompt(item.question) for item in items]
    routes = experts.current(node.context).routes(node.context.engine, general)
    assert sum(route.mode == "routed" for route in routes) <= len(general) // 20
