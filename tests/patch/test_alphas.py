"""Alphas by regular expressions: as PEFT reads them, and not for ever."""

import itertools
import re

import pytest

from hivelearn.patch.alphas import RULES_MAX, SECONDS_MAX, Alphas

NAME = "model.layers.10.self_attn.q_proj"


@pytest.mark.parametrize(
    "pattern",
    ["q_proj", r"layers\.\d+\.self_attn\..*", "k_proj|q_proj", "proj", "model.layers.10",
     r"(\w|\.)+", "self_attn.q_proj", "", ".*", "[qk]_proj", r"(?i)Q_PROJ",
     r"layers\.(?!10)\d+\..*"],
)  # fmt: skip
def test_an_expression_means_what_python_s_own_makes_of_it(pattern):
    alphas = Alphas({"lora_alpha": 1, "alpha_pattern": {pattern: 2}})
    try:
        expected = 2 if re.match(rf"(.*\.)?({pattern})$", NAME) else 1
    except re.error:  # flags in the middle, which `regex` takes
        expected = 2
    assert alphas.of(NAME) == expected


def test_an_expression_that_would_take_for_ever_is_stopped():
    ticks = itertools.chain([0.0], itertools.repeat(SECONDS_MAX - 0.05))
    alphas = Alphas({"alpha_pattern": {"(.|.)*m": 1}}, clock=lambda: next(ticks))
    with pytest.raises(ValueError, match="take more than 1 s"):
        alphas.of(NAME)


def test_all_modules_share_the_time():
    ticks = itertools.count(0.0, 0.125)  # for every look at the clock
    alphas = Alphas({"alpha_pattern": {"x+": 1}}, clock=lambda: next(ticks))
    assert [alphas.of(NAME) for _ in range(6)] == [8] * 6
    with pytest.raises(ValueError, match="take more than 1 s"):
        alphas.of(NAME)


def test_expressions_without_number_take_no_longer_to_read():
    ticks = itertools.count(0.0, 0.125)
    many = {"alpha_pattern": {f"x+{number}": 1 for number in range(500)}}
    with pytest.raises(ValueError, match="take more than 1 s"):
        Alphas(many, clock=lambda: next(ticks))
    assert next(ticks) < 1.5, "seven were compiled"


def test_more_expressions_than_anybody_has_are_not_compiled(monkeypatch):
    compiled = []
    monkeypatch.setattr("regex.compile", compiled.append)
    with pytest.raises(ValueError, match=f"more than {RULES_MAX} expressions"):
        Alphas({"alpha_pattern": {f"x+{number}": 1 for number in range(50_000)}})
    assert len(compiled) == RULES_MAX


INTRICATE = {
    "twenty repetitions, one in another": "(" * 20 + "a+" + ")+" * 20,
    "a long one": "[a-z]" * 20_000,
    "one that calls itself": "(?R)" * 50,
    "a fuzzy one": "(abc){e<=3}(?&x)",
    "one of a million": "a{1000000}",
    "a hundred of a hundred": "(a{100}){100}",
    "many counted ones": "a{50}b{50}c{50}",
    "up to very many": "x{0,1000000}",
}


@pytest.mark.parametrize("pattern", INTRICATE.values(), ids=INTRICATE.keys())
def test_an_expression_that_takes_for_ever_to_compile_is_not_compiled(pattern, monkeypatch):
    monkeypatch.setattr("regex.compile", lambda _: pytest.fail("compiled"))
    with pytest.raises(ValueError, match=r"nested too|no regular|repeats"):
        Alphas({"alpha_pattern": {pattern: 1}})


def test_names_of_modules_need_no_expression():
    names = {f"model.layers.{layer}.q_proj": layer for layer in range(16_384)}
    alphas = Alphas({"lora_alpha": -1, "alpha_pattern": names}, clock=itertools.count().__next__)
    assert alphas.of("model.layers.700.q_proj") == 700
    assert alphas.of("base.model.layers.701.q_proj") == 701
    assert alphas.of("model.layers.700.k_proj") == -1


def test_the_first_that_matches_counts_be_it_a_name_or_an_expression():
    for order in itertools.permutations(
        {"q_proj": 1, r".*attn\.\w+": 2, "self_attn.q_proj": 3}.items()
    ):
        assert Alphas({"alpha_pattern": dict(order)}).of(NAME) == order[0][1]
