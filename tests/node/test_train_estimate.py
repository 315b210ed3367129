"""An estimate is one line that says what it costs and what would cost less."""

import json

import pytest

from hivelearn.node.train_estimate import TrainEstimate, duration


def estimate(**changed):
    usual = {"domain": "roman", "corrections": 208, "steps": 240, "batch": 16}
    usual["least_steps"] = changed.get("steps", 240)
    return TrainEstimate(**usual | {"step_s": 30.0, "memory_bytes": 1_600_000_000} | changed)


def test_a_long_training_names_a_shorter_one():
    assert str(estimate()) == (
        "roman, 208 corrections: about 2.0 h for 240 steps of 16; 1.6 GB of memory; "
        "`--steps 20 --batch 8` takes 5 min (besides: opening the model, judging)"
    )
    told = json.loads(estimate().to_json())
    assert told["seconds"] == 7200
    assert told["shorter"] == [20, 8, 300.0]


def test_a_training_that_may_end_early_says_from_when_to_when():
    said = str(estimate(least_steps=30, corrections=1, step_s=1.0))
    assert said == (
        "roman, 1 correction: about 30 s, and on while it gains: "
        "240 steps of 16 in 4 min at most; 1.6 GB of memory (besides: opening the model, judging)"
    )


SHORT = {
    "nobody waits": {"steps": 10, "step_s": 30.0},
    "a step too slow for any": {"steps": 20, "step_s": 300.0, "batch": 8},
}


@pytest.mark.parametrize("changed", SHORT.values(), ids=SHORT.keys())
def test_no_shorter_way_is_named_where_there_is_none(changed):
    assert estimate(**changed).shorter is None


TIMES = {0: "1 s", 42: "42 s", 89: "89 s", 250: "4 min", 5399: "90 min", 7200: "2.0 h"}


@pytest.mark.parametrize(("seconds", "said"), [*TIMES.items(), (40_000, "11 h")])
def test_a_time_is_told_to_two_digits(seconds, said):
    assert duration(seconds) == said
