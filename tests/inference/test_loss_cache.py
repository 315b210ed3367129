"""Losses are measured once for a state, a row and a part, and never mixed up."""

from hivelearn.inference.chat import Example
from hivelearn.inference.loss_cache import BASE, LossCache, without_answer
from hivelearn.store.loss_file import LossFile


class Counting:
    """Losses are the tokens' sum, and every example that is measured is written down."""

    name, base = "counting", b"b" * 32

    def __init__(self):
        self.measured = []

    def losses(self, examples, adapter, part):  # noqa: ARG002
        self.measured += examples
        return [float(sum(example.tokens)) + (adapter or 0) for example in examples]


ONE, TWO = Example((1, 2), b"\0\1"), Example((1, 3), b"\0\1")
ANSWERED = Example((1, 2, 9), b"\0\1\2")


def test_what_is_known_is_not_measured_again():
    engine, losses = Counting(), LossCache()
    assert losses.of(engine, [ONE, TWO, ONE], "a", 0, "prompt") == [3.0, 4.0, 3.0]
    assert engine.measured == [ONE, TWO]
    assert losses.of(engine, [TWO], "a", 0, "prompt") == [4.0]
    assert len(engine.measured) == 2


def test_states_parts_and_marks_are_told_apart():
    engine, losses = Counting(), LossCache()
    other = Example(ONE.tokens, b"\1\1")  # the same tokens, other words of the user
    losses.of(engine, [ONE, other], "a", 0, "prompt")
    assert losses.of(engine, [ONE], "b", 10, "prompt") == [13.0]
    assert losses.of(engine, [ONE], BASE, None, "prompt") == [3.0]
    losses.of(engine, [ONE], "a", 0, "answer")
    assert len(engine.measured) == 5


def test_an_answer_is_not_looked_at_where_the_prompt_is_meant():
    engine, losses = Counting(), LossCache()
    assert without_answer(ANSWERED) == ONE
    assert losses.of(engine, [ONE, ANSWERED], "a", 0, "prompt") == [3.0, 3.0]
    assert engine.measured == [ONE]
    assert losses.of(engine, [ANSWERED], "a", 0, "answer") == [12.0]


def test_the_oldest_are_forgotten():
    engine, losses = Counting(), LossCache(kept=1)
    assert losses.of(engine, [ONE, TWO], "a", 0, "prompt") == [3.0, 4.0]
    losses.of(engine, [TWO], "a", 0, "prompt")
    assert len(engine.measured) == 2
    losses.of(engine, [ONE], "a", 0, "prompt")
    assert len(engine.measured) == 3


def test_what_lasts_is_not_measured_by_the_next_process(tmp_path):
    first, file = Counting(), tmp_path / "measured.bin"
    LossCache(LossFile(file)).of(first, [ONE, ANSWERED], "a", 0, "answer", lasting=True)
    second, losses = Counting(), LossCache(LossFile(file))
    assert losses.of(second, [ANSWERED, TWO], "a", 0, "answer", lasting=True) == [12.0, 4.0]
    assert second.measured == [TWO]


def test_what_somebody_asks_leaves_nothing_on_the_disk(tmp_path):
    file = tmp_path / "measured.bin"
    LossCache(LossFile(file)).of(Counting(), [ONE], "a", 0, "prompt")
    assert not file.exists()


def test_another_model_engine_or_precision_shares_nothing(tmp_path):
    store, base = LossFile(tmp_path / "measured.bin"), Counting()
    LossCache(store).of(base, [ONE], "a", 0, "prompt", lasting=True)
    for change in ({"base": b"c" * 32}, {"name": "other"}, {}):
        engine = Counting()
        vars(engine).update(change)
        precision = "" if change else "bfloat16"
        LossCache(store, precision).of(engine, [ONE], "a", 0, "prompt", lasting=True)
        assert engine.measured == [ONE], change


def test_what_is_cleared_is_gone_from_memory_and_disk(tmp_path):
    engine, losses = Counting(), LossCache(LossFile(tmp_path / "measured.bin"))
    losses.of(engine, [ONE], "a", 0, "prompt", lasting=True)
    losses.clear()
    assert list(tmp_path.iterdir()) == []
    losses.of(engine, [ONE], "a", 0, "prompt", lasting=True)
    assert engine.measured == [ONE, ONE]
