"""Prompt losses are measured once for an expert and a prompt, and never mixed up."""

from hivelearn.inference.chat import Example
from hivelearn.inference.prompt_loss_cache import PromptLossCache, without_answer


class Counting:
    """Losses are the tokens' sum, and every example that is measured is written down."""

    def __init__(self):
        self.measured = []

    def losses(self, examples, adapter, part):
        assert part == "prompt"
        self.measured += examples
        return [float(sum(example.tokens)) + adapter for example in examples]


ONE, TWO = Example((1, 2), b"\0\1"), Example((1, 3), b"\0\1")


def test_what_is_known_is_not_measured_again():
    engine, prompt_losses = Counting(), PromptLossCache()
    assert prompt_losses.of(engine, [ONE, TWO, ONE], "a", 0) == [3.0, 4.0, 3.0]
    assert engine.measured == [ONE, TWO]
    assert prompt_losses.of(engine, [TWO], "a", 0) == [4.0]
    assert len(engine.measured) == 2


def test_experts_and_marks_are_told_apart():
    engine, prompt_losses = Counting(), PromptLossCache()
    other = Example(ONE.tokens, b"\1\1")  # the same tokens, other words of the user
    prompt_losses.of(engine, [ONE, other], "a", 0)
    assert prompt_losses.of(engine, [ONE], "b", 10) == [13.0]
    assert len(engine.measured) == 3


def test_an_answer_is_not_looked_at():
    engine, prompt_losses = Counting(), PromptLossCache()
    answered = Example((1, 2, 9), b"\0\1\2")
    assert without_answer(answered) == ONE
    assert prompt_losses.of(engine, [ONE, answered], "a", 0) == [3.0, 3.0]
    assert engine.measured == [ONE]


def test_the_oldest_are_forgotten():
    engine, prompt_losses = Counting(), PromptLossCache(kept=1)
    assert prompt_losses.of(engine, [ONE, TWO], "a", 0) == [3.0, 4.0]
    prompt_losses.of(engine, [TWO], "a", 0)
    assert len(engine.measured) == 2
    prompt_losses.of(engine, [ONE], "a", 0)
    assert len(engine.measured) == 3
