"""The search of a merge: who helps is taken, who does not costs one evaluation."""

import random

import pytest

from hivelearn.node.merge.choose import STEPS, choose

ROWS = list(range(40))  # a row stands for its number
A, B, C = b"a", b"b", b"c"


def allow(some):
    return dict.fromkeys(some, 0.2)


class Model:
    """Losses that fall by ``gains[patch] · share``, up to a best share; counts what it is asked."""

    def __init__(self, gains, best=1.0, spread=0.0):
        self.gains, self.best, self.spread, self.asked = gains, best, spread, []

    def __call__(self, shares, rows):
        self.asked.append((dict(shares), len(rows)))
        gain = sum(self.gains[p] * min(s, 2 * self.best - s) for p, s in shares.items())
        chance = random.Random(str(sorted(shares.items())))
        noise = {row: chance.gauss(0, self.spread) if shares else 0.0 for row in ROWS}
        return [1.0 - gain + noise[row] for row in rows]


def test_what_helps_gets_what_trust_allows_and_what_does_not_gets_nothing():
    model = Model({A: 1.0, B: -1.0, C: 0.0})
    choice = choose([A, B, C], ROWS, allow, model)
    assert choice.shares == {A: pytest.approx(0.2)}
    assert sum(choice.before) - sum(choice.after) == pytest.approx(40 * 0.2)


def test_of_its_share_a_patch_gets_as_much_as_helps():
    assert choose([A], ROWS, allow, Model({A: 1.0}, best=0.05)).shares == {A: pytest.approx(0.05)}


def test_a_patch_that_does_not_help_costs_one_evaluation_of_the_holdout():
    many = [bytes([n]) for n in range(30)]
    model = Model(dict.fromkeys(many, -1.0))
    assert choose(many, ROWS, allow, model).shares == {}
    assert sum(rows for _, rows in model.asked) == (1 + 30) * len(ROWS)
    helpful = Model({A: 1.0})
    choose([A], ROWS, allow, helpful)
    assert sum(rows for _, rows in helpful.asked) == (1 + len(STEPS) + 1) * len(ROWS)


def test_together_they_harm_so_the_second_is_left_out():
    def quarrel(shares, rows):
        gain = sum(shares.values()) if len(shares) < 2 else -1.0
        return [1.0 - gain] * len(rows)

    assert choose([A, B], ROWS, allow, quarrel).shares == {A: pytest.approx(0.2)}


def test_choosing_among_many_that_do_nothing_shows_no_lift():
    """Each looks better on some half by chance; the other half has not chosen it."""
    many = [bytes([n]) for n in range(40)]
    lifts = []
    for trial in range(20):
        names = [bytes([trial]) + each for each in many]
        model = Model(dict.fromkeys(names, 0.0), spread=0.3)
        choice = choose(names, ROWS, allow, model)
        assert choice.shares  # it was tempted
        lifts.append((sum(choice.before) - sum(choice.after)) / len(ROWS))
    assert abs(sum(lifts) / len(lifts)) < 0.03  # chosen by all rows: +.15


def test_nobody_gets_more_than_trust_gives_in_that_company():
    def share(some):
        return {patch: 0.3 / len(some) for patch in some}

    choice = choose([A, B, C], ROWS, share, Model({A: 1.0, B: 1.0, C: 1.0}))
    assert sum(choice.shares.values()) <= 0.3 + 1e-9


def test_a_row_without_an_answer_and_a_loss_that_is_no_number_choose_nobody():
    def broken(shares, rows):
        return [float("nan") if shares or row == 0 else 1.0 for row in rows]

    assert choose([A], ROWS, allow, broken).shares == {}
