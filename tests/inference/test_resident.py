"""One model, many adapters: bits as PEFT's, batches as singles, the base untouched."""

import math
import threading
import time

import peft
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from hivelearn.errors import UsageError
from hivelearn.inference import lora
from hivelearn.inference.chat import Example
from hivelearn.inference.completion import Listener
from hivelearn.inference.engine import AdapterMismatchError
from hivelearn.inference.loading import LoadedModel
from hivelearn.inference.resident import ResidentEngine
from hivelearn.inference.sampling import Sampling
from hivelearn.inference.special_tokens import SpecialTokens
from hivelearn.patch.adapter import Adapter

BASE = bytes(32)
GREEDY = Sampling(6)
PROMPTS = ["Write 14 in Roman numerals.", "a", "Say when the brown fox jumps over the dog."]


def examples_of(engine, answers=("XIV", "b", "never, please")):
    return [engine.encoder.pair(p, a) for p, a in zip(PROMPTS, answers, strict=True)]


def logits(model, example):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([example.tokens]), use_cache=False).logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_logits_under_an_adapter_are_bit_equal_to_pefts(
    engine_of, family, adapter_for, tmp_path, dtype
):
    folder, engine = engine_of(family)
    adapter = adapter_for(engine, dtype=dtype)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, adapter.save(tmp_path / "peft")).eval()
    example = engine.encoder.prompt("Hello there")
    with engine.attach(adapter):
        ours = logits(engine.model, example)
    assert torch.equal(ours, logits(theirs, example))
    assert not torch.equal(ours, logits(engine.model, example))  # and it did something


def test_batches_answer_and_measure_as_singles_do(engine, adapter_for):
    adapter, examples = adapter_for(engine), examples_of(engine)
    for part in ("answer", "prompt"):
        together = engine.losses(examples, adapter, part)
        alone = [engine.losses([example], adapter, part)[0] for example in examples]
        assert together == pytest.approx(alone, abs=1e-6)


def test_greedy_texts_of_a_batch_are_those_of_singles(nano):
    examples = [
        nano.encoder.prompt(p) for p in ("Say hello", "Write cat in capitals.", "Spell dog")
    ]
    together = nano.generate(examples, None, Sampling(12))
    assert together == [nano.generate([example], None, Sampling(12))[0] for example in examples]
    assert any(answer.text for answer in together)


def test_many_small_batches_measure_like_one(llama):
    examples = [example for _ in range(5) for example in examples_of(llama)]
    whole = llama.losses(examples, None, "answer")
    special = SpecialTokens(llama.encoder.end_ids, 0, ())
    small = ResidentEngine(LoadedModel(llama.model, llama.encoder.tokenizer, special), BASE, 64)
    assert small.losses(examples, None, "answer") == pytest.approx(whole, abs=1e-6)


def test_a_neighbours_long_question_does_not_cut_an_answer_short(llama):
    short, long = llama.encoder.prompt("Hello"), llama.encoder.prompt("fox " * 110)
    assert 256 - 20 < len(long.tokens) < 256
    texts = llama.generate([short, long], None, Sampling(40))
    assert texts == [llama.generate([example], None, Sampling(40))[0] for example in (short, long)]


def test_losses_are_those_of_transformers(engine):
    example = examples_of(engine)[0]
    labels = torch.tensor([example.tokens]).clone()
    labels[0, [mark != 2 for mark in example.marks]] = -100
    with torch.inference_mode():
        expected = engine.model(input_ids=torch.tensor([example.tokens]), labels=labels).loss
    assert engine.losses([example], None, "answer")[0] == pytest.approx(float(expected), abs=1e-5)


def test_a_part_without_tokens_has_no_loss(llama):
    asked = llama.encoder.prompt("Hello")
    found = llama.losses([asked, *examples_of(llama)], None, "answer")
    assert math.isnan(found[0])
    assert all(map(math.isfinite, found[1:]))
    assert llama.losses([], None, "answer") == llama.generate([], None, GREEDY) == []


def test_the_base_is_restored_after_an_error_inside(llama, adapter_for):
    example = llama.encoder.prompt("Hello")
    before = logits(llama.model, example)
    with pytest.raises(RuntimeError, match="stop"), llama.attach(adapter_for(llama)):
        raise RuntimeError("stop")

    def refuse(_):
        raise RuntimeError("the listener fell over")

    with pytest.raises(RuntimeError, match="listener"):
        llama.generate([example], adapter_for(llama), GREEDY, Listener(refuse))
    assert torch.equal(before, logits(llama.model, example))


def renamed(adapter, module):
    pair = next(iter(adapter.factors.values()))
    return Adapter({module: pair}, adapter.rank, adapter.alpha, adapter.base)


def test_an_adapter_that_does_not_fit_is_refused(llama, adapter_for):
    adapter = adapter_for(llama)
    stranger = renamed(adapter, "model.layers.9.self_attn.q_proj")
    wrong = renamed(adapter, "model.layers.0.mlp.up_proj")
    for bad in (stranger, wrong):
        for call in (
            lambda bad=bad: llama.check(bad),
            lambda bad=bad: llama.losses(examples_of(llama), bad, "answer"),
            lambda bad=bad: llama.generate(examples_of(llama)[:1], bad, GREEDY),
            lambda bad=bad: llama.gradients([examples_of(llama)], bad, 0.1),
        ):
            with pytest.raises(AdapterMismatchError) as caught:
                call()
            assert caught.value.remedy


def test_all_linear_means_what_peft_means(engine_of, family):
    folder, engine = engine_of(family)
    base = AutoModelForCausalLM.from_pretrained(folder)
    fan = family == "gpt2"
    config = peft.LoraConfig(r=2, target_modules="all-linear", fan_in_fan_out=fan)
    model = peft.get_peft_model(base, config)
    named = {
        name.removeprefix("base_model.model.")
        for name, module in model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    assert set(engine.shapes()) == named
    assert list(engine.shapes()) == sorted(named)


def test_norms_are_those_of_the_weights(engine):
    modules = dict(engine.model.named_modules())
    assert engine.norms() == {
        name: pytest.approx(float(modules[name].weight.norm()), rel=1e-5)
        for name in engine.shapes()
    }
    assert engine.norms() is engine.norms()


def test_sampling_repeats_by_its_seed_and_leaves_the_callers_chance_alone(llama):
    examples = [llama.encoder.prompt(p) for p in PROMPTS]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = llama.generate(examples, None, Sampling(8, 1.0, seed=1))
    assert torch.equal(torch.rand(3), expected)
    assert llama.generate(examples, None, Sampling(8, 1.0, seed=1)) == first
    assert llama.generate(examples, None, Sampling(8, 1.0, seed=2)) != first


@pytest.mark.parametrize("seed", range(4))
def test_pieces_of_a_stream_are_the_answer(engine, seed):
    example, pieces = engine.encoder.prompt("Hello"), []
    sampling = Sampling(24, 1.3, seed=seed)  # noise of a random model: broken UTF-8, newlines
    text = engine.generate([example], None, sampling, Listener(pieces.append))[0].text
    assert "".join(pieces) == text
    assert engine.generate([example], None, sampling)[0].text == text
    assert all(pieces)


def test_a_stream_comes_in_more_than_one_piece(nano):
    pieces = []
    nano.generate(
        [nano.encoder.prompt("Say one two three")], None, Sampling(12), Listener(pieces.append)
    )
    assert len(pieces) > 3


IMPOSSIBLE = [
    {"max_new_tokens": 0},
    {"temperature": -1},
    {"temperature": float("nan")},
    {"top_p": 0},
    {"top_p": 1.1},
    {"top_p": "all"},
    {"max_new_tokens": 2.5},
    {"max_new_tokens": True},
    {"max_new_tokens": 1 << 21},
    {"temperature": 1e-320},
    {"temperature": float("inf")},
    {"temperature": "hot"},
    {"seed": -1},
    {"seed": 2**70},
    {"seed": "x"},
]


@pytest.mark.parametrize("settings", IMPOSSIBLE, ids=str)
def test_impossible_sampling_is_refused(settings):
    with pytest.raises(UsageError, match="impossible"):
        Sampling(**settings)


def test_nothing_is_printed(llama, adapter_for, capfd):
    examples = examples_of(llama)
    llama.generate(examples, adapter_for(llama), GREEDY)
    llama.generate(examples[:1], None, Sampling(4, 0.7, 0.9), Listener(lambda _: None))
    llama.losses(examples, None, "answer")
    assert capfd.readouterr() == ("", "")


def test_asking_threads_do_not_disturb_a_training_one(llama, adapter_for):
    examples = examples_of(llama)
    adapter, other = adapter_for(llama), adapter_for(llama, seed=1)
    expected = llama.gradients([examples], adapter, 0.1)
    said = llama.generate(examples, other, GREEDY)
    stop, wrong = threading.Event(), []

    def ask():
        while not stop.is_set():
            if llama.generate(examples, other, GREEDY) != said:
                wrong.append("text")
            time.sleep(0.002)  # locks are not fair: four of us would starve the fifth

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    found = [llama.gradients([examples], adapter, 0.1) for _ in range(5)]
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    for each in found:
        assert each.loss == expected.loss
        for name, (a, b) in each.factors.items():
            assert torch.equal(a, expected.factors[name][0])
            assert torch.equal(b, expected.factors[name][1])


def test_an_example_without_any_weight_gives_no_step(llama, adapter_for):
    with pytest.raises(UsageError, match="nothing to learn"):
        llama.gradients([[Example((1, 2, 3), bytes(3))]], adapter_for(llama), 0.1)


def test_an_engine_tells_what_it_is(llama):
    assert "LlamaForCausalLM" in repr(llama)
    assert llama.width == 32


def test_gpt2s_transposed_layers_are_linear_too(engine_of):
    shapes = lora.linear_shapes(engine_of("gpt2")[1].model)
    assert shapes["transformer.h.0.attn.c_attn"] == (96, 32)
