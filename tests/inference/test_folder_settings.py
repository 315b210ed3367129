"""Folders that say odd things of tokens and generation answer, or are refused at opening."""

import json
import shutil

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer, ByT5Tokenizer, LlamaConfig

from hivelearn.inference.chat import ChatEncoder, VocabularyError
from hivelearn.inference.chat_template import ChatTemplateError, ConversationError
from hivelearn.inference.completion import Listener
from hivelearn.inference.loading import load_model, quiet
from hivelearn.inference.resident import ResidentEngine
from hivelearn.inference.sampling import Sampling

BASE = bytes(32)
SHORT, LONG = "Hello", "Hello again, my friend, and a good day to you"


@pytest.fixture
def copied(engine_of, tmp_path):
    """Return a function from family to a copy of its folder."""
    return lambda family: shutil.copytree(engine_of(family)[0], tmp_path / family)


def opened(folder):
    return ResidentEngine(load_model(folder, "cpu"), BASE)


def change(folder, name, **settings):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def answers(engine, sampling):
    """Return what one, several and a streamed one say; they must agree."""
    one, two = engine.encoder.prompt(SHORT), engine.encoder.prompt(LONG)
    together = engine.generate([one, two], None, sampling)
    pieces = []
    alone = engine.generate([one], None, sampling, Listener(pieces.append))
    assert "".join(pieces) == alone[0].text
    return [*alone, *together]


EXPERIMENTS = {
    "a dictionary of scores": {"return_dict_in_generate": True, "output_scores": True},
    "attentions": {"output_attentions": True, "output_hidden_states": True},
    "beams": {"num_beams": 3, "early_stopping": True},
    "groups of beams": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
    "several sequences": {"do_sample": True, "num_return_sequences": 2},
    "a short length": {"max_length": 20},
    "a long least length": {"min_new_tokens": 50, "min_length": 60},
    "sampling of its own": {"do_sample": True, "top_k": 20, "temperature": 0.7, "top_p": 0.8},
    "penalties": {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
    "stop strings": {"stop_strings": ["a", "e"]},
    "a static cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
    "an assistant": {"prompt_lookup_num_tokens": 3},
    "tokens that are never said": {"suppress_tokens": list(range(10, 300))},
    "a forced beginning": {"forced_bos_token_id": 5, "forced_eos_token_id": 6},
    "contrast": {"penalty_alpha": 0.6, "top_k": 4},
    "a watermark": {"watermarking_config": {"bias": 2.0}},
    "guidance": {"guidance_scale": 1.5},
    "words for numbers": {"temperature": "hot", "top_p": None, "num_beams": "many"},
    "settings of tomorrow": {"think_harder": True},
}


@pytest.mark.parametrize("settings", EXPERIMENTS.values(), ids=EXPERIMENTS.keys())
def test_generation_settings_of_a_folder_change_no_answer_and_are_told(copied, engine_of, settings):
    folder = copied("llama")
    change(folder, "generation_config.json", **settings)
    change(folder, "config.json", **settings)  # older models keep them there
    engine = opened(folder)
    for sampling in (Sampling(5), Sampling(5, 0.9, 0.9, seed=3)):
        assert answers(engine, sampling) == answers(engine_of("llama")[1], sampling)
    assert all(name in engine.remarks[0] for name in settings if settings[name] is not None)


def test_settings_that_change_nothing_are_not_told(copied):
    folder = copied("llama")
    usual = {"use_cache": True, "output_attentions": False, "temperature": None}
    change(folder, "generation_config.json", **usual)
    assert opened(folder).remarks == ()


@pytest.mark.parametrize("told", [[1, 2], 1, [1, 1], [1, -1, None, "x"], [1, 10_000]], ids=str)
def test_the_tokens_that_end_a_turn_may_be_one_or_many(copied, told):
    folder = copied("llama")
    change(folder, "generation_config.json", eos_token_id=told)
    engine = opened(folder)
    assert engine.encoder.end_ids[0] == 1
    assert set(engine.encoder.end_ids) <= {1, 2}
    pair = engine.encoder.pair("Hello", "yes")
    assert pair.tokens[-1] == 1
    assert engine.losses([pair], None, "answer")[0] > 0
    assert any("10000 is beyond" in remark for remark in engine.remarks) == ("10000" in str(told))


def test_a_model_that_names_no_end_answers_to_the_limit_and_says_so(copied):
    folder = copied("gpt2")
    for name in ("generation_config.json", "config.json"):
        change(folder, name, eos_token_id=None, pad_token_id=None, bos_token_id=None)
    change(folder, "tokenizer_config.json", eos_token=None, pad_token=None)
    engine = opened(folder)
    assert engine.encoder.end_ids == ()
    assert {answer.finish_reason for answer in answers(engine, Sampling(4))} == {"length"}
    assert {answer.answer_tokens for answer in answers(engine, Sampling(4))} == {4}
    assert engine.encoder.pair("Hello", "yes").count("answer") > 0
    assert any("names no token that ends" in remark for remark in engine.remarks)


def test_the_end_of_a_turn_in_the_template_ends_an_answer_though_the_model_names_another(copied):
    folder = copied("qwen3")  # <|im_end|> is 1, <|im_start|> 2
    for name in ("generation_config.json", "config.json"):
        change(folder, name, eos_token_id=0)
    assert opened(folder).encoder.end_ids == (0, 1)


def with_tokenizer(folder, edit):
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        edit(tokenizer)
        tokenizer.save_pretrained(folder)
    return folder


def pads_beyond_the_embedding(tokenizer):
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})


def pads_with_the_end(tokenizer):
    tokenizer.pad_token = tokenizer.eos_token


def pads_with_nothing(tokenizer):
    tokenizer.pad_token = None


def pads_on_the_right_and_cuts(tokenizer):
    tokenizer.padding_side, tokenizer.truncation_side = "right", "left"
    tokenizer._tokenizer.enable_truncation(max_length=3)
    tokenizer._tokenizer.enable_padding(length=64)


def ends_what_it_encodes(tokenizer):
    end = tokenizer.eos_token
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )


def has_tokens_that_the_model_lacks(tokenizer):
    tokenizer.add_tokens(["<new>"])


ODD_TOKENIZERS = [
    pads_beyond_the_embedding,
    pads_with_the_end,
    pads_with_nothing,
    pads_on_the_right_and_cuts,
    ends_what_it_encodes,
    has_tokens_that_the_model_lacks,
]


@pytest.mark.parametrize("edit", ODD_TOKENIZERS, ids=lambda edit: edit.__name__)
@pytest.mark.parametrize("family", ["llama", "gpt2"])  # with a chat template, and without
def test_an_odd_tokenizer_changes_no_answer_no_loss_and_no_gradient(
    copied, engine_of, adapter_for, edit, family
):
    engine, plain = opened(with_tokenizer(copied(family), edit)), engine_of(family)[1]
    assert answers(engine, Sampling(5)) == answers(plain, Sampling(5))
    pairs = [(SHORT, "yes"), (LONG, "never")]
    ours, theirs = ([e.encoder.pair(*pair) for pair in pairs] for e in (engine, plain))
    assert ours == theirs
    assert engine.losses(ours, None, "answer") == plain.losses(theirs, None, "answer")
    adapter = adapter_for(engine)
    found, expected = (e.gradients([ours], adapter, 0.1).loss for e in (engine, plain))
    assert found == expected


def test_a_token_that_the_model_lacks_is_refused_where_it_is_said(copied):
    engine = opened(with_tokenizer(copied("llama"), has_tokens_that_the_model_lacks))
    for call in (
        lambda: engine.encoder.prompt("say <new> twice"),
        lambda: engine.encoder.pair("say", "<new>"),
    ):
        with pytest.raises(ConversationError, match=r"'<new>' is token \d+"):
            call()


def test_a_template_of_tokens_that_the_model_lacks_is_refused_at_opening(copied):
    def speaks_of_new_turns(tokenizer):
        tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
        tokenizer.chat_template = "{% for m in messages %}<turn>{{ m['content'] }}{% endfor %}"

    with pytest.raises(VocabularyError, match="'<turn>' is token") as caught:
        opened(with_tokenizer(copied("llama"), speaks_of_new_turns))
    assert "resize_token_embeddings" in caught.value.remedy


def test_a_beginning_is_written_once(copied):
    def begins(tokenizer):
        tokenizer.bos_token = "<|start_header_id|>"
        start = tokenizer.bos_token
        tokenizer._tokenizer.post_processor = TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, tokenizer.bos_token_id)]
        )
        tokenizer.chat_template = (
            "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
        )

    folder = with_tokenizer(copied("llama"), begins)
    tokens = opened(folder).encoder.prompt("Hello").tokens
    assert tokens.count(tokens[0]) == 1
    plain = with_tokenizer(folder, lambda tokenizer: setattr(tokenizer, "chat_template", None))
    (plain / "chat_template.jinja").unlink(missing_ok=True)
    without = opened(plain).encoder.prompt("Hello")
    assert without.tokens[0] == tokens[0]
    assert without.tokens.count(tokens[0]) == 1
    assert without.marks[0] == 0


@pytest.fixture
def of_bytes(tmp_path):
    """A model whose tokenizer is plain Python, and whose embedding has more rows than that."""
    tokenizer = ByT5Tokenizer(extra_ids=0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 61,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    with quiet():
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", ["user", "two\nlines", "Zürich, 漢字", " spaced ", "a"])
def test_a_tokenizer_without_offsets_marks_exactly_the_users_words(of_bytes, words):
    encoder = opened(of_bytes).encoder
    turns = [
        {"role": "system", "content": "user"},
        {"role": "user", "content": words},
        {"role": "assistant", "content": words},
        {"role": "user", "content": words},
    ]
    example = encoder.pair(turns, "yes")
    said = bytes(t - 3 for t, m in zip(example.tokens, example.marks, strict=True) if m == 1)
    assert said.decode() == words + words
    assert example.tokens[-1] == 1
    assert example.tokens.count(1) == 1  # it appends an end of its own, which was left out


def test_a_model_with_more_rows_than_tokens_answers(of_bytes):
    engine = opened(of_bytes)
    for seed in range(3):
        answers(engine, Sampling(12, 5.0, seed=seed))
    assert engine.encoder.text([70, 259, 300, 319, 71]) == "CD"


USUAL = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}<assistant>"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
TEMPLATES = {
    "refuses a system message": (NO_SYSTEM + USUAL, "<user>Hello\n<assistant>"),
    "wants a system message": (
        "{% if messages[0]['role'] != 'system' %}{{ raise_exception('system first') }}{% endif %}"
        + USUAL,
        "<system>\n<user>Hello\n<assistant>",
    ),
    "wants tools": ("{{ tools | length }}" + USUAL, "0<user>Hello\n<assistant>"),
    "wants parts": (
        "{% for m in messages %}<{{ m['role'] }}>{{ m['content'][0]['text'] }}{% endfor %}",
        "<user>Hello",
    ),
    "lists parts": (
        "{% for p in messages[0]['content'] %}[{{ p['text'] }}]{% endfor %}",
        "[Hello]",
    ),
    "wants a system message in parts": (
        "{{ messages[0]['content'][0]['text'] }}|{{ messages[1]['content'][0]['text'] }}",
        "|Hello",
    ),
}


@pytest.mark.parametrize(("text", "expected"), TEMPLATES.values(), ids=TEMPLATES.keys())
@pytest.mark.parametrize("place", ["file", "setting"])
def test_a_chat_template_is_called_as_it_wants_to_be(copied, place, text, expected):
    folder = copied("llama")
    if place == "file":
        (folder / "chat_template.jinja").write_text(text)
    else:
        (folder / "chat_template.jinja").unlink()
        change(folder, "tokenizer_config.json", chat_template=text)
    encoder = opened(folder).encoder
    example = encoder.prompt("Hello")
    assert encoder.text(example.tokens) == expected
    marked = [t for t, m in zip(example.tokens, example.marks, strict=True) if m == 1]
    assert encoder.text(marked).strip() == "Hello"
    assert encoder.pair("Hello", "yes").count("answer") > 1


def test_a_system_message_that_the_template_refuses_is_refused_with_what_to_do(copied):
    folder = copied("llama")
    (folder / "chat_template.jinja").write_text(NO_SYSTEM + USUAL)
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    with pytest.raises(ConversationError, match="no system") as caught:
        opened(folder).encoder.prompt(turns)
    assert "before the user's first" in caught.value.remedy


BROKEN = {
    "always raises": "{{ raise_exception('roles must alternate') }}",
    "is no template": "{% for m in messages %}",
    "leaves out the user's words": "{% for m in messages %}<{{ m['role'] }}>{% endfor %}",
    "reaches for the machine": "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "counts for ever": "{% for i in range(999999999) %}{{ i }}{% endfor %}",
    "divides by zero": "{{ 1 / 0 }}",
    "calls what is not there": "{{ open('/etc/passwd').read() }}",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_template_that_cannot_be_used_is_refused_at_opening(copied, text):
    folder = copied("llama")
    (folder / "chat_template.jinja").write_text(text)
    with pytest.raises(ChatTemplateError) as caught:
        opened(folder)
    assert "chat_template.jinja" in caught.value.remedy
    assert "\n" not in caught.value.what


def test_of_several_templates_the_default_is_used_and_without_one_they_are_named(engine_of):
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(engine_of("llama")[0])
    tokenizer.chat_template = {"default": "D{{ messages[0]['content'] }}", "tool_use": "T"}
    encoder = ChatEncoder(tokenizer, (1,), None)
    assert encoder.text(encoder.prompt("Hello").tokens) == "DHello"
    tokenizer.chat_template = {"rag": "R{{ messages[0]['content'] }}", "tool_use": "T"}
    with pytest.raises(ChatTemplateError, match="rag, tool_use"):
        ChatEncoder(tokenizer, (1,), None)
    tokenizer.chat_template = {"rag": "R{{ messages[0]['content'] }}"}
    encoder = ChatEncoder(tokenizer, (1,), None)
    assert encoder.text(encoder.prompt("Hello").tokens) == "RHello"
