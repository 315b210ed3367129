"""An answer knows who gave it and how to be corrected."""

import json

import pytest

from hivelearn.errors import UsageError
from hivelearn.inference.route import Route
from hivelearn.node.ask.answer import Answer

MESSAGES = ({"role": "user", "content": "14?"},)
BASE = Route((), "base", None)


def heard(*args, **kwargs):
    return args, kwargs


def test_a_correction_takes_the_domain_that_was_stated_unless_told_another():
    answer = Answer("IIII", BASE, MESSAGES, "roman", _journal=heard)
    assert answer.correct("XIV") == (
        (MESSAGES, "XIV"),
        {"domain": "roman", "subject": None, "wrong": "IIII"},
    )
    assert answer.correct("XIV", domain="latin", subject="ann")[1] == {
        "domain": "latin",
        "subject": "ann",
        "wrong": "IIII",
    }


def test_a_correction_without_a_domain_is_refused():
    with pytest.raises(UsageError, match="needs a domain"):
        Answer("IIII", BASE, MESSAGES, _journal=heard).correct("XIV")


def test_an_answer_from_nowhere_says_how_to_correct_it():
    with pytest.raises(UsageError, match="not connected") as caught:
        Answer("IIII", BASE, MESSAGES).correct("XIV", domain="roman")
    assert "node.correct" in caught.value.remedy


def test_an_answer_prints_its_text_and_tells_its_route():
    answer = Answer("<XIV>", Route(("ab" * 32,), "routed", 0.25), MESSAGES)
    assert str(answer) == "<XIV>"
    assert str(answer.route) == "abababab (routed, 0.25 nats below the base)"
    assert json.loads(answer.to_json()) == {
        "text": "<XIV>",
        "experts": ["ab" * 32],
        "mode": "routed",
        "confidence": 0.25,
        "finish_reason": "stop",
        "prompt_tokens": 0,
        "answer_tokens": 0,
    }
    assert "&lt;XIV&gt;" in answer._repr_html_()
    assert str(BASE) == "base model"
    assert str(Route(("ab" * 32,), "named", None)) == "abababab (named)"
