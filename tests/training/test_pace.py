"""The rate falls when nothing more is gained, and the training ends there; else as it was told."""

from dataclasses import replace

import pytest

from hivelearn.training import pace
from hivelearn.training.recipe import Recipe

STATED = Recipe(rate=0.1, steps=100, batch=8, warmup=0.1, floor=0.2, ends_early=False)
EARLY = replace(STATED, ends_early=True, warmup=0.08)


def rates(recipe, steps, looks=()):
    return [pace.rate_at(step, looks, recipe) for step in range(steps)]


def test_a_stated_number_of_steps_rises_in_a_line_and_falls_in_a_cosine_to_the_floor():
    found = rates(STATED, 101)
    assert found[0] == pytest.approx(0.01)
    assert found[9] == found[10] == pytest.approx(0.1)
    assert found[55] == pytest.approx(0.1 * (0.2 + 0.8 * 0.5))
    assert found[100] == pytest.approx(0.02)
    assert found[10:] == sorted(found[10:], reverse=True)
    assert rates(replace(STATED, steps=1), 1) == [0.1]
    assert pace.steps_in_all([(8, 1.0), (16, 1.0), (24, 1.0)], STATED) == 100


def falling(n, by=0.8):
    return [(8 * (i + 1), by**i) for i in range(n)]


def test_while_every_look_gains_it_goes_on_to_the_most_and_cools_there():
    looks = falling(10)
    assert pace.steps_in_all(looks, EARLY) == 100
    found = rates(EARLY, 100, looks)
    assert found[4] == found[79] == pytest.approx(0.1)
    assert found[80:] == sorted(found[80:], reverse=True)
    assert found[99] == pytest.approx(0.02)


STILL = {
    "three looks like the three before": ([1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.52], 56),
    "it gets worse": ([1.0, 0.5, 0.5, 0.6, 0.9, 1.2], 48),
    "bad looks are chance": ([1.0, 0.9, 0.8, 0.9, 0.5, 0.7, 0.3, 0.6], None),
    "slow is still a gain": ([1.0, 0.93, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65], None),
    "learnt altogether": ([0.5, 0.009], 16),
    "not a number is no gain": ([1.0, 0.5, 0.4, 0.3, 0.2, float("nan")], 48),
}


@pytest.mark.parametrize(("losses", "cools"), STILL.values(), ids=STILL.keys())
def test_it_cools_when_nothing_more_is_gained(losses, cools):
    looks = [(8 * (i + 1), loss) for i, loss in enumerate(losses)]
    assert pace.cools_from(looks, EARLY) == (cools or 80)


def test_what_comes_after_the_decision_does_not_take_it_back():
    looks = [(8 * n, 0.5) for n in range(1, 7)]
    ends = pace.steps_in_all(looks, EARLY)
    assert ends == 60
    assert pace.steps_in_all([*looks, (56, 0.01)], EARLY) == ends
    found = rates(EARLY, ends, looks)
    assert found[47] == pytest.approx(0.1)
    assert found[59] == pytest.approx(0.02)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 24])
def test_the_shortest_trainings_end_in_time(most):
    recipe = replace(EARLY, steps=most)
    for looks in ([], [(4, 0.001)]):
        assert 1 <= pace.steps_in_all(looks, recipe) <= most
        made = pace.steps_in_all(looks, recipe)
        assert all(0 < rate <= 0.1 for rate in rates(recipe, made, looks))


def test_corrections_are_spared_to_watch_only_where_there_are_enough():
    assert pace.watched(63, EARLY) == frozenset()
    assert pace.watched(1000, STATED) == frozenset()
    for count in (64, 208, 2400, 10**5):
        found = pace.watched(count, EARLY)
        assert 8 <= len(found) <= 32
        assert len(found) <= count / 8
        assert max(found) < count
