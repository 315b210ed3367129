"""A node that plays rounds over a local network until its input ends; a line for each trunk.

Arguments: the model, a home, the node's number, its port. The first line of input holds the
others' keys and ports, as JSON.
"""

import json
import sys

import torch

from hivelearn.device.limits import SAFETY
from hivelearn.node.node import Node
from hivelearn.store.correction import is_holdout, prompt_hash, to_conversation
from hivelearn.training.recipe import Recipe
from hivelearn.trunk.settings import RoundSettings

RECIPE = Recipe(rank=2, alpha=4.0, pass_tokens=512, rehearsal=0.0, rate=0.01)
ROUNDS = RoundSettings(steps=3, batch=4, patience_s=3.0)
HELD, LEARNT = 24, 12


def say(**told):
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def main():
    torch.set_num_threads(1)
    model, home, number, port = sys.argv[1:5]
    node = Node(
        model, home=home, recipe=RECIPE, rounds=ROUNDS, comfort=SAFETY, progress=False,
        base_texts=2, device="cpu",
    )  # fmt: skip
    if not len(node.corrections):
        with node.context.store.writing("teach"):
            left, n = {True: HELD, False: LEARNT}, 0
            while any(left.values()):
                n += 1
                asked = f"What is yes {number} {n}?"
                side = is_holdout(prompt_hash(to_conversation(asked)))
                if left[side]:
                    left[side] -= 1
                    node.correct(asked, "yes yes", domain="yes")
    say(key=node.key)
    others = json.loads(sys.stdin.readline())
    for key in others["keys"]:
        if key != node.key:
            node.vouch(key)
    peers = [f"127.0.0.1:{each}" for each in others["ports"] if str(each) != port]
    where = {"listen": f"127.0.0.1:{port}", "peers": peers, "discover": False}

    def tell(event):
        report = getattr(event, "report", None)
        if report is not None and hasattr(report, "trunk"):
            say(trunk=report.trunk, height=report.height, outcome=report.outcome)

    with node.events.subscribe(tell), node.live("yes", **where) as alive:
        sys.stdin.read()
    say(errors=alive.errors)
    node.close()


main()
