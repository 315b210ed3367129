"""Examples mark the user's words and the answer, in every family's own chat format."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from hivelearn.inference.chat import ANSWER, CONTENT, ChatEncoder, Example
from hivelearn.inference.chat_template import ChatTemplateError, ConversationError
from hivelearn.inference.messages import as_messages

SYSTEM = {"role": "system", "content": "Answer the user."}


def said(engine, example, mark):
    tokens = [token for token, m in zip(example.tokens, example.marks, strict=True) if m == mark]
    return engine.model and tokenizer(engine).decode(tokens)


def tokenizer(engine):
    return engine.encoder.tokenizer


TRAPS = {
    "a word of the template": "user",
    "another word of the template": "assistant",
    "one letter": "a",
    "a newline": "two\nlines",
    "an accent": "Zürich, 漢字",
    "a word of the answer": "XIV",
}


@pytest.mark.parametrize("words", TRAPS.values(), ids=TRAPS.keys())
def test_exactly_the_users_words_are_marked(engine, words):
    example = engine.encoder.pair(words, "XIV")
    assert said(engine, example, CONTENT).strip() == words
    assert example.count("prompt") == example.marks.count(CONTENT) > 0


def test_every_turn_of_the_user_is_marked_and_no_other(engine):
    turns = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "user one"},
        {"role": "user", "content": "two"},
    ]
    example = engine.encoder.prompt(turns)
    assert said(engine, example, CONTENT).replace(" ", "") == "onetwo"


@pytest.mark.parametrize("answer", ["XIV", "e", "an end_of_turn", ""])
def test_the_answer_is_tokenised_as_generated_and_ends_its_turn(engine, answer):
    asked, example = engine.encoder.prompt("Write 14."), engine.encoder.pair("Write 14.", answer)
    alone = tokenizer(engine)(answer, add_special_tokens=False)["input_ids"]
    assert example.tokens[: len(asked.tokens)] == asked.tokens
    assert list(example.tokens[len(asked.tokens) :]) == [*alone, tokenizer(engine).eos_token_id]
    assert set(example.marks[len(asked.tokens) :]) == {ANSWER}
    assert engine.encoder.text(example.tokens[len(asked.tokens) :]) == answer


def test_the_prompt_is_what_the_models_own_template_renders(engine_of):
    for family in ("llama", "qwen3", "mistral"):
        encoder = engine_of(family)[1].encoder
        turns = [SYSTEM, {"role": "user", "content": "Hello"}]
        expected = encoder.tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True
        )["input_ids"]
        assert list(encoder.prompt(turns).tokens) == expected


def test_a_tokenizer_without_a_template_gets_the_plain_one(engine_of):
    encoder = engine_of("gpt2")[1].encoder
    tokens = encoder.prompt([SYSTEM, {"role": "user", "content": "Hello"}]).tokens
    assert encoder.text(tokens) == "system: Answer the user.\nuser: Hello\nassistant: "


class Rewriting:
    """A tokenizer whose template shouts: no mark survives it."""

    chat_template, is_fast = "shouting", True

    def __init__(self, inner):
        self._inner = inner

    def __call__(self, *args, **kwargs):
        return self._inner(*args, **kwargs)

    def apply_chat_template(self, messages, **_):
        return "".join(f"<{m['content'].encode('ascii', 'ignore').decode()}>" for m in messages)


def test_a_template_that_rewrites_text_is_searched(llama):
    encoder = ChatEncoder(Rewriting(tokenizer(llama)), (1,), None)
    example = encoder.pair("hello", "x")
    assert said(llama, example, CONTENT) == "hello"
    assert example.tokens[-1] == 1  # no mark came through, so the plain end of a turn
    assert encoder.prompt("漢字").count("prompt") == 0  # nowhere to be found


class Refusing(Rewriting):
    def apply_chat_template(self, *_, **__):
        raise ValueError("roles must alternate")


def test_a_template_that_always_raises_is_refused_at_opening(llama):
    with pytest.raises(ChatTemplateError, match="roles must alternate") as caught:
        ChatEncoder(Refusing(tokenizer(llama)), (1,), None)
    assert "chat_template.jinja" in caught.value.remedy


def test_a_long_conversation_is_refused_with_numbers(engine):
    with pytest.raises(ConversationError, match=r"has \d+ tokens, the model takes 256") as caught:
        engine.encoder.prompt("word " * 300)
    assert "longer context" in caught.value.remedy
    with pytest.raises(ConversationError, match="the model takes 256"):
        engine.encoder.pair("short", "word " * 300)


def test_what_is_too_long_is_said_by_us_alone(engine_of):
    own = AutoTokenizer.from_pretrained(engine_of("llama")[0], model_max_length=16)
    ChatEncoder(own, (1,), 256).pair("word " * 30, "word " * 30)
    assert own.deprecation_warnings == {}  # where transformers notes what it said


NO_CONVERSATION = {
    "empty": "",
    "blank": " \n",
    "no message": [],
    "no list": 7,
    "nothing": None,
    "one message, not in a list": {"role": "user", "content": "x"},
    "text in a list": ["hello"],
    "bytes": b"hello",
    "no content": [{"role": "user"}],
    "content that is no text": [{"role": "user", "content": 3}],
    "half a character": "\ud800",
    "half a character in the system's words": [
        {"role": "system", "content": "\udfff"},
        {"role": "user", "content": "x"},
    ],
    "a strange role": [{"role": "root", "content": "x"}],
    "ends with the answer": [{"role": "assistant", "content": "x"}],
}


@pytest.mark.parametrize("prompt", NO_CONVERSATION.values(), ids=NO_CONVERSATION.keys())
def test_what_is_no_conversation_is_refused_with_a_remedy(prompt):
    with pytest.raises(ConversationError) as caught:
        as_messages(prompt)
    assert caught.value.remedy


@pytest.mark.parametrize("answer", ["\ud800", b"x", None, 3])
def test_an_answer_that_is_no_text_is_refused(llama, answer):
    with pytest.raises(ConversationError):
        llama.encoder.pair("hello", answer)


@given(st.text(min_size=1).filter(str.strip))
def test_any_text_of_a_user_becomes_one_message(text):
    assert as_messages(text) == [{"role": "user", "content": text}]


def test_text_ends_where_the_turn_ends(llama):
    end = tokenizer(llama).eos_token_id
    tokens = [*tokenizer(llama)("yes", add_special_tokens=False)["input_ids"], end, 5, 6]
    assert llama.encoder.text(tokens) == "yes"


def test_an_example_counts_its_parts():
    example = Example((1, 2, 3, 4), bytes([0, CONTENT, ANSWER, ANSWER]))
    assert (example.count("prompt"), example.count("answer")) == (1, 2)
