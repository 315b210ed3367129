"""Prompt losses are measured once for an expert and a prompt, and never mixed up."""

from hivelearn.inference.rows import Row
from hivelearn.inference.surprise import Surprise, asked


class Counting:
    """Losses are the tokens' sum, and every row that is measured is written down."""

    def __init__(self):
        self.measured = []

    def losses(self, rows, adapter, part):
        assert part == "prompt"
        self.measured += rows
        return [float(sum(row.tokens)) + adapter for row in rows]


ONE, TWO = Row((1, 2), b"\0\1"), Row((1, 3), b"\0\1")


def test_what_is_known_is_not_measured_again():
    engine, surprise = Counting(), Surprise()
    assert surprise.of(engine, [ONE, TWO, ONE], "a", 0) == [3.0, 4.0, 3.0]
    assert engine.measured == [ONE, TWO]
    assert surprise.of(engine, [TWO], "a", 0) == [4.0]
    assert len(engine.measured) == 2


def test_experts_and_marks_are_told_apart():
    engine, surprise = Counting(), Surprise()
    other = Row(ONE.tokens, b"\1\1")  # the same tokens, other words of the user
    surprise.of(engine, [ONE, other], "a", 0)
    assert surprise.of(engine, [ONE], "b", 10) == [13.0]
    assert len(engine.measured) == 3


def test_an_answer_is_not_looked_at():
    engine, surprise = Counting(), Surprise()
    answered = Row((1, 2, 9), b"\0\1\2")
    assert asked(answered) == ONE
    assert surprise.of(engine, [ONE, answered], "a", 0) == [3.0, 3.0]
    assert engine.measured == [ONE]


def test_the_oldest_are_forgotten():
    engine, surprise = Counting(), Surprise(kept=1)
    assert surprise.of(engine, [ONE, TWO], "a", 0) == [3.0, 4.0]
    surprise.of(engine, [TWO], "a", 0)
    assert len(engine.measured) == 2
    surprise.of(engine, [ONE], "a", 0)
    assert len(engine.measured) == 3
