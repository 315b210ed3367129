"""Nodes that teach one subject, each with questions of its own, and vouch for each other."""

from dataclasses import replace
from functools import partial
from itertools import permutations
from types import SimpleNamespace

import pytest

from hivelearn.node.trunk import grow
from hivelearn.node.trunk.state import Rounds
from hivelearn.training.recipe import Recipe
from hivelearn.trunk.settings import RoundSettings

QUICK = RoundSettings(steps=3, batch=4, patience_s=600.0)


# A part of three steps begins to learn anew: at the usual rate of these tests it would jump.
SLOW = Recipe(rank=2, alpha=4.0, steps=8, pass_tokens=512, rehearsal=0.0, rate=0.01)


def turn(node, present=0, **rounds):
    """Take a turn outside any swarm, by other settings if some are given."""
    context = node.context
    if rounds:
        context = replace(context, config=replace(node.config, rounds=replace(QUICK, **rounds)))
    return grow.grow(context, "yes", grow.Company(None, present), node.config.safety)


def own_records(node):
    """Return the own patches of a node's rounds."""
    found = Rounds(node.context, "yes").records()
    me = node.context.identity.author
    return [node.context.adapters.patch(r.entry.id) for r in found if r.body.author == me]


def around(exchange, *nodes):
    """Let everybody train a part, exchange them, and end the round."""
    for node in nodes:
        turn(node)
    exchange(*nodes)
    return [turn(node) for node in nodes]


@pytest.fixture
def play(make, kit):
    """Return functions that make friends, let them take turns and bring each other's records."""

    def teach(node, number, held=24):
        with node.context.store.writing("teach"):
            for side, count in ((False, 12), (True, held)):
                for text in kit.prompts(f"yes{number}", count, held=side):
                    node.correct(text, "yes yes", domain="yes")

    def friends(count, held=24, **rounds):
        how = {"rounds": replace(QUICK, **rounds), "recipe": SLOW}
        nodes = [make(f"friend{n}", **how) for n in range(count)]
        for number, node in enumerate(nodes):
            teach(node, number, held)
        for node, other in permutations(nodes, 2):
            node.vouch(other.key)
        return nodes

    def exchange(*nodes):
        for node, other in permutations(nodes, 2):
            for patch in own_records(node):
                kit.send(patch, other)

    return SimpleNamespace(
        teach=teach,
        friends=friends,
        exchange=exchange,
        around=partial(around, exchange),
        turn=turn,
        own=own_records,
        rounds=lambda node: Rounds(node.context, "yes"),
    )
