"""Engines are opened by name; another one takes part wherever an engine does."""

import pytest

import hivelearn as hl
from hivelearn.errors import UsageError
from hivelearn.inference.chat import ChatEncoder
from hivelearn.inference.engine import EngineOptions, MissingCapabilityError, require
from hivelearn.inference.engine_table import engine_names, open_engine, register_engine
from hivelearn.inference.resident import ResidentEngine, ResidentOptions

BASE = bytes(32)


class Parrot:
    """Repeats the user's words; knows no losses and no gradients."""

    name, width = "parrot", 0
    capabilities = frozenset({"generate"})

    def __init__(self, folder, base, options=None):
        from transformers import AutoTokenizer

        self.base, self.options = base, options
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.encoder = ChatEncoder(self.tokenizer, (self.tokenizer.eos_token_id,), None)

    def generate(self, examples, adapter, *_):
        assert adapter is None
        said = [[t for t, m in zip(e.tokens, e.marks, strict=True) if m == 1] for e in examples]
        return [self.encoder.text(tokens).strip() for tokens in said]


register_engine("parrot", Parrot)


def test_a_registered_engine_answers_through_a_node(engine_of, tmp_path):
    folder, options = engine_of("llama")[0], EngineOptions()
    with hl.Node(folder, home=tmp_path, engine="parrot", engine_options=options) as node:
        assert node.ask("Hello there").text == "Hello there"
        assert [answer.text for answer in node.ask_many(["one", "two"])] == ["one", "two"]
        assert isinstance(node.engine, Parrot)
        assert node.engine.options is options
        assert node.engine.base == node.base


def test_what_an_engine_cannot_do_is_refused_by_its_name(engine_of, tmp_path):
    with hl.Node(engine_of("llama")[0], home=tmp_path, engine="parrot") as node:
        for number in range(12):
            node.correct(f"Write {number}.", str(number), domain="numbers")
        with pytest.raises(MissingCapabilityError) as caught:
            node.train("numbers")
        with pytest.raises(MissingCapabilityError, match="streaming needs stream text"):
            next(node.stream("Hello"))
    assert caught.value.what == (
        "training needs gradients, which the engine 'parrot' does not give (it gives: generate)"
    )
    assert "engine=" in caught.value.remedy


def test_the_resident_engine_is_opened_by_its_name(engine_of):
    opened = open_engine("resident", engine_of("llama")[0], BASE, ResidentOptions(device="cpu"))
    assert isinstance(opened, ResidentEngine)
    assert opened.name == "resident"
    assert opened.base == BASE


def test_an_engine_can_what_it_says(llama):
    for capability in llama.capabilities:
        require(llama, capability, "this test")


def test_an_unknown_engine_is_refused_with_those_there_are(engine_of):
    with pytest.raises(UsageError, match="no engine 'warp'") as caught:
        open_engine("warp", engine_of("llama")[0], BASE)
    assert caught.value.remedy == "Use one of: parrot, resident."
    assert engine_names() == ["parrot", "resident"]


def test_options_of_another_engine_are_refused(engine_of):
    with pytest.raises(UsageError, match="cannot read EngineOptions") as caught:
        open_engine("resident", engine_of("llama")[0], BASE, EngineOptions())
    assert "ResidentOptions" in caught.value.remedy


def test_a_name_belongs_to_one_engine():
    register_engine("parrot", Parrot)  # a module that is run twice, as notebooks do
    for name in ("parrot", "resident"):
        with pytest.raises(UsageError, match="belongs to another"):
            register_engine(name, lambda *_: None)


@pytest.mark.parametrize("wrong", [{"device": 5}, {"dtype": None}])
def test_options_that_are_no_text_are_refused(wrong):
    with pytest.raises(UsageError):
        ResidentOptions(**wrong)
