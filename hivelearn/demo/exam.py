"""The same held-out questions before and after: exact match and loss, as the node serves them."""

import math
from collections.abc import Sequence
from typing import TypedDict

from hivelearn.demo import tasks
from hivelearn.inference.nano.tasks import held_out
from hivelearn.node.node import Node

QUESTIONS = 300  # a cell; 2 points are then 6 questions
MARGIN_TOKENS = 2  # an answer that runs on past the longest right one is wrong already
RETENTION = "base tasks"


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


def sit(node: Node, pairs: Sequence[tuple[str, str]]) -> Score:
    """Return how ``node`` answers; no question says what it is about."""
    longest = max(len(wanted.encode()) for _, wanted in pairs)  # the nano model speaks bytes
    prompts = [prompt for prompt, _ in pairs]
    answers = node.ask_many(prompts, max_new_tokens=longest + MARGIN_TOKENS)
    right = sum(
        answer.text.strip() == wanted for answer, (_, wanted) in zip(answers, pairs, strict=True)
    )
    losses = [loss for loss in node.score(pairs) if not math.isnan(loss)]
    return Score(exact=right / len(pairs), loss=sum(losses) / len(losses))
