"""Everyday questions that no expert should take, with short answers.

Facts, how-to, small talk, writing, code, sums, translation and more, in English,
German, French, Spanish, Chinese and a few other languages, written for this package.
Two of three say what a claim must stay above; the third judges whether it does, so
that the judge has not seen what the claim was fitted to. No benchmark asks them, and
no training rehearses them.
"""

import json
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_JUDGE_IN = 3


class GeneralText(NamedTuple):
    """One line of ``general_texts.jsonl``."""

    kind: str
    language: str
    prompt: str
    answer: str


@cache
def general_texts() -> tuple[GeneralText, ...]:
    """Return all of them. Every kind and language recurs, so a beginning is a sample."""
    lines = (files(__package__) / "general_texts.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(GeneralText(*json.loads(line)) for line in lines)


def claims_stay_above(n: int) -> list[GeneralText]:
    """Return ``n`` texts, or as many as there are, that a claim is fitted to."""
    return [text for i, text in enumerate(general_texts()) if i % _JUDGE_IN != _JUDGE_IN - 1][:n]


def judge_harm(n: int) -> list[GeneralText]:
    """Return ``n`` texts, or as many as there are, that judge harm."""
    return list(general_texts()[_JUDGE_IN - 1 :: _JUDGE_IN][:n])
