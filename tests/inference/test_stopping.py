"""An answer ends where the caller wants it to, is told why, and costs no token more."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.errors import UsageError
from hivelearn.inference.completion import Listener
from hivelearn.inference.sampling import STOP_MAX_CHARS, STOPS_MAX, Sampling
from hivelearn.inference.stop_strings import cut, sayable

PROMPTS = ["Hello", "Say when the brown fox jumps over the lazy dog, please."]


@pytest.fixture
def passes(llama):
    """Count the passes through the model: one for the prompts, then one for each token."""
    counted = []
    handle = llama.model.register_forward_hook(lambda *_: counted.append(1))
    yield counted
    handle.remove()


def said(engine, sampling, prompts=PROMPTS):
    return engine.generate([engine.encoder.prompt(p) for p in prompts], None, sampling)


@pytest.mark.parametrize("seed", range(6))
def test_an_answer_ends_before_a_stop_alone_in_a_batch_and_streamed(llama, seed, passes):
    noise = {"temperature": 1.3, "seed": seed}
    whole = said(llama, Sampling(24, **noise), PROMPTS[:1])[0]
    stop = whole.text[5:8]
    sampling = Sampling(24, stop=stop, **noise)
    pieces = []
    passes.clear()
    (one,) = llama.generate(
        [llama.encoder.prompt(PROMPTS[0])], None, sampling, Listener(pieces.append)
    )
    assert one.text == whole.text[: whole.text.index(stop)]
    assert one.finish_reason == "stop_string"
    assert "".join(pieces) == one.text
    assert one.answer_tokens == len(passes) < 24
    greedy = said(llama, Sampling(24))
    stops = tuple(answer.text[2:4] for answer in greedy)
    for answer, before in zip(said(llama, Sampling(24, stop=stops)), greedy, strict=True):
        assert answer.text == cut(before.text, stops)[0]
        assert answer.finish_reason == "stop_string"


def test_the_reason_and_the_tokens_are_told(llama, nano):
    short, long = said(llama, Sampling(4))
    assert (short.finish_reason, short.answer_tokens) == ("length", 4)
    assert short.prompt_tokens == len(llama.encoder.prompt(PROMPTS[0]).tokens) < long.prompt_tokens
    ended = said(nano, Sampling(64), ["Spell dog"])[0]
    assert ended.finish_reason == "stop"
    assert ended.answer_tokens == len(nano.encoder.pair("Spell dog", ended.text).tokens) - (
        ended.prompt_tokens + 1
    )


@pytest.mark.parametrize("heard", [0, 1, 3])
def test_a_caller_who_leaves_ends_the_generation_within_a_token(llama, passes, heard):
    pieces = []
    listener = Listener(pieces.append, lambda: len(pieces) >= heard)
    row = llama.encoder.prompt("Hello")
    (answer,) = llama.generate([row], None, Sampling(200, 1.3), listener)
    assert answer.finish_reason == "cancelled"
    assert answer.answer_tokens == len(passes)
    assert len(pieces) <= heard + 1
    assert answer.text.startswith("".join(pieces))
    if heard == 0:
        assert not passes


def test_top_k_draws_from_the_likeliest_alone(llama):
    assert said(llama, Sampling(8, 5.0, top_k=1)) == said(llama, Sampling(8))
    assert said(llama, Sampling(8, 5.0, top_k=0)) == said(llama, Sampling(8, 5.0))
    few = said(llama, Sampling(8, 5.0, top_k=2, seed=4))
    assert few != said(llama, Sampling(8, 5.0, seed=4))
    row = llama.encoder.prompt(PROMPTS[0])
    with torch.inference_mode():
        logits = llama.model(input_ids=torch.tensor([row.tokens])).logits[0, -1]
    first = {
        said(llama, Sampling(1, 50.0, top_k=2, seed=seed), PROMPTS[:1])[0].text
        for seed in range(12)
    }
    assert first == {llama.encoder.text([token]) for token in logits.topk(2).indices.tolist()}


STOPS = {
    "a number": 3,
    "nothing in it": "",
    "a list with nothing in it": ["a", ""],
    "bytes": b"a",
    "a number in a list": [3],
    "too many": ["a"] * (STOPS_MAX + 1),
    "too long": "a" * (STOP_MAX_CHARS + 1),
}


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS.keys())
def test_what_cannot_stop_an_answer_is_refused(stop):
    with pytest.raises(UsageError, match="stop") as caught:
        Sampling(stop=stop)
    assert "characters" in caught.value.remedy


def test_a_stop_may_be_one_text_or_several():
    assert Sampling(stop="a").stop == Sampling(stop=["a"]).stop == Sampling(stop=("a",)).stop


texts = st.text(alphabet="ab", max_size=12)
stops = st.lists(st.text(alphabet="ab", min_size=1, max_size=4), max_size=3)


@given(texts, stops)
def test_what_is_said_early_is_never_taken_back(text, stops):
    final = cut(text, stops)[0]
    said = [sayable(text[:n], stops) for n in range(len(text) + 1)]
    for before, after in zip(said, [*said[1:], final], strict=True):
        assert after.startswith(before)
