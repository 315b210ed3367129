"""Alphas by regular expressions: as PEFT reads them, and not for ever."""

import itertools
import re

import pytest

from hivelearn.patch.alphas import SECONDS_MAX, Alphas

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
    with pytest.raises(ValueError, match="take more than 5 s"):
        alphas.of(NAME)


def test_all_modules_share_the_time():
    ticks = itertools.count()  # a second for every expression
    alphas = Alphas({"alpha_pattern": {"x": 1}}, clock=lambda: next(ticks))
    assert [alphas.of(NAME) for _ in range(4)] == [8] * 4
    with pytest.raises(ValueError, match="take more than 5 s"):
        alphas.of(NAME)
