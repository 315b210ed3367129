"""A verdict keeps its figures on the way to the shelf."""

import json
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from hivelearn.patch.verdict import Verdict

FIGURES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
VERDICTS = st.builds(
    Verdict,
    accepted=st.booleans(),
    layer=st.sampled_from(["format", "policy", "numbers", "probe", "rule"]),
    code=st.text(max_size=20),
    why=st.text(max_size=80),
    measured=FIGURES,
    limit=FIGURES,
    fault=st.sampled_from(["author", "relay", "nobody"]),
)


@given(VERDICTS)
def test_a_verdict_is_told_whole(verdict):
    assert json.loads(verdict.to_json()) == asdict(verdict)


@given(VERDICTS)
def test_equal_verdicts_have_equal_text_and_it_is_json(verdict):
    assert json.loads(verdict.to_json())["code"] == verdict.code
    assert list(json.loads(verdict.to_json())) == sorted(json.loads(verdict.to_json()))


def test_an_infinite_measurement_survives_the_shelf():
    verdict = Verdict(
        accepted=False, layer="numbers", code="num.nonfinite", why="x", measured=float("inf")
    )
    assert json.loads(verdict.to_json())["measured"] == float("inf")


def test_it_prints_its_answer_first():
    said = Verdict(accepted=True, layer="rule", code="rule.gain", why="own +0.031 nats")
    assert str(said) == "accepted (rule.gain): own +0.031 nats"
    assert str(Verdict(accepted=False, layer="a", code="b", why="c")) == "refused (b): c"
