"""Engines are opened by name; another one takes part wherever an engine does."""

from dataclasses import dataclass

import pytest

import hivelearn as hl
from hivelearn.errors import UsageError
from hivelearn.inference.chat import ChatEncoder
from hivelearn.inference.completion import Completion
from hivelearn.inference.engine import MissingCapabilityError, require
from hivelearn.inference.engine_table import ENGINES, EngineKind, open_engine
from hivelearn.inference.resident import ResidentEngine
from hivelearn.inference.resident_options import ResidentOptions

BASE = bytes(32)


@dataclass(frozen=True)
class ParrotOptions:
    feathers: str = "green"


class Parrot:
    """Repeats the user's words; knows no losses and no gradients."""

    name, width = "parrot", 0
    capabilities = frozenset({"generate"})

    def __init__(self, folder, fingerprint, options):
        from transformers import AutoTokenizer

        self.base, self.options = fingerprint(), options
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.encoder = ChatEncoder(self.tokenizer, (self.tokenizer.eos_token_id,), None)

    def generate(self, examples, adapter, *_):
        assert adapter is None
        said = [[t for t, m in zip(e.tokens, e.marks, strict=True) if m == 1] for e in examples]
        return [Completion(self.encoder.text(tokens).strip()) for tokens in said]


@pytest.fixture(autouse=True)
def _parrot(monkeypatch):
    monkeypatch.setitem(ENGINES, "parrot", lambda: EngineKind(Parrot, ParrotOptions))


def test_another_engine_answers_through_a_node_with_options_of_its_own(engine_of, tmp_path):
    folder = engine_of("llama")[0]
    with hl.Node(folder, home=tmp_path, engine="parrot", feathers="red") as node:
        assert node.ask("Hello there").text == "Hello there"
        assert [answer.text for answer in node.ask_many(["one", "two"])] == ["one", "two"]
        assert isinstance(node.engine, Parrot)
        assert node.engine.options == ParrotOptions("red")
        assert node.engine.base == node.base


def test_a_setting_that_neither_node_nor_engine_has_is_refused_with_those_they_have(tmp_path):
    with pytest.raises(UsageError, match="no setting 'device'") as caught:
        hl.Node(home=tmp_path, engine="parrot", device="cpu")
    assert "feathers" in caught.value.remedy
    assert "max_new_tokens" in caught.value.remedy


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
    opened = open_engine(
        "resident", engine_of("llama")[0], lambda: BASE, ResidentOptions(device="cpu")
    )
    assert isinstance(opened, ResidentEngine)
    assert opened.name == "resident"
    assert opened.base == BASE


def test_an_engine_can_what_it_says(llama):
    for capability in llama.capabilities:
        require(llama, capability, "this test")


def test_an_unknown_engine_is_refused_with_those_there_are(engine_of):
    with pytest.raises(UsageError, match="no engine 'warp'") as caught:
        open_engine("warp", engine_of("llama")[0], lambda: BASE)
    assert caught.value.remedy == "Use one of: parrot, resident."


def test_options_of_another_engine_are_refused(engine_of):
    with pytest.raises(UsageError, match="takes ResidentOptions, not ParrotOptions"):
        open_engine("resident", engine_of("llama")[0], lambda: BASE, ParrotOptions())


@pytest.mark.parametrize("wrong", [{"device": 5}, {"dtype": None}])
def test_options_that_are_no_text_are_refused(wrong):
    with pytest.raises(UsageError):
        ResidentOptions(**wrong)
