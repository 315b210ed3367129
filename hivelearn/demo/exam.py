"""The same held-out questions before and after: exact match and loss, as the node serves them.

A question goes through the router each time. What the one who takes it has said to
it already is not generated again: the same weights would say the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from hivelearn.demo import tasks
from hivelearn.inference.nano.tasks import held_out
from hivelearn.inference.sampling import Sampling
from hivelearn.node.ask import ask
from hivelearn.node.ask.options import AskOptions
from hivelearn.node.node import Node

QUESTIONS = 300  # a cell; 2 points are then 6 questions
MARGIN_TOKENS = 2  # an answer that runs on past the longest right one is wrong already
RETENTION = "base tasks"
SUBJECTS = (*(domain.name for domain in tasks.DOMAINS.values()), RETENTION)
Pairs = Sequence[tuple[str, str]]  # questions with their right answers
Said = tuple[bool, float]  # right to the letter; nats per answer token of the right answer


class Score(TypedDict):
    """One cell of the demo's table."""

    exact: float  # share of answers that are right to the letter
    loss: float  # mean nats per answer token of the right answers


def questions(seed: int, count: int = QUESTIONS) -> dict[str, list[tuple[str, str]]]:
    """Return (question, right answer) pairs of every domain and of the base's own tasks."""
    pairs = {
        domain.name: [(q.prompt, q.answer) for q in tasks.questions(domain, seed, count)]
        for domain in tasks.DOMAINS.values()
    }
    pairs[RETENTION] = [(item.question, item.answer) for item in held_out(count, seed)]
    return pairs


@dataclass
class Exam:
    """All questions of one node, and what was said to them until now."""

    pairs: Mapping[str, Pairs]  # by subject
    said: dict[tuple[str, tuple[str, ...]], Said] = field(default_factory=dict)  # prompt, experts

    def sit(self, node: Node, subject: str) -> Score:
        """Return how ``node`` answers; no question says what it is about."""
        pairs = self.pairs[subject]
        longest = max(len(wanted.encode()) for _, wanted in pairs)  # the nano model speaks bytes
        options = AskOptions(Sampling(longest + MARGIN_TOKENS), None, ())
        engine, encoder = node.engine, node.engine.encoder
        prompts = [encoder.prompt(prompt) for prompt, _ in pairs]
        pool, routes = ask.routed(node.context, prompts, options)
        keys = [(prompt, r.experts) for (prompt, _), r in zip(pairs, routes, strict=True)]
        new = [at for at, key in enumerate(keys) if key not in self.said]
        taken = [routes[at] for at in new]
        answers = pool.answer(engine, [prompts[at] for at in new], taken, options.sampling)
        right = [encoder.pair(*pairs[at]) for at in new]
        losses = pool.losses(engine, right, taken)
        for at, answer, loss in zip(new, answers, losses, strict=True):
            self.said[keys[at]] = (answer.text.strip() == pairs[at][1], loss)
        found = [self.said[key] for key in keys]
        known = [loss for _, loss in found if not math.isnan(loss)]
        exact = sum(good for good, _ in found) / len(found)
        return Score(exact=exact, loss=sum(known) / len(known))

    def told(self, subject: str) -> list[list[Any]]:
        """Return what the base model said, for another node with the same base."""
        prompts = [prompt for prompt, _ in self.pairs[subject]]
        return [[p, *self.said[p, ()]] for p in prompts if (p, ()) in self.said]

    def hear(self, told: Sequence[Sequence[Any]]) -> None:
        """Take over what another node's base model said."""
        self.said |= {(prompt, ()): (good, loss) for prompt, good, loss in told}
