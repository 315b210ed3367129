"""Gradients are PEFT's, whatever the microbatches, and weigh tokens as the recipe says."""

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from hivelearn.inference.chat import Example
from hivelearn.patch.adapter import Adapter


def random_b(engine, rank=2):
    chance = torch.Generator().manual_seed(4)
    factors = {
        name: (
            torch.randn(rank, i, generator=chance) * 0.1,
            torch.randn(o, rank, generator=chance) * 0.1,
        )
        for name, (o, i) in engine.shapes().items()
    }
    return Adapter(factors, rank, 4.0, engine.base)


def test_gradients_are_those_of_autograd_on_a_peft_model(engine, folder, examples, tmp_path):
    """Reference: PEFT's model of the same adapter, transformers' own loss per example."""
    adapter, prompt_weight = random_b(engine), 0.1
    base = AutoModelForCausalLM.from_pretrained(folder)
    model = peft.PeftModel.from_pretrained(base, adapter.save(tmp_path), is_trainable=True)
    total, weighted = 0.0, 0.0
    for example in examples[:4]:
        ids = torch.tensor([example.tokens])
        logits = model(input_ids=ids).logits[0, :-1]
        nll = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        weights = torch.tensor([{0: 0.0, 1: prompt_weight, 2: 1.0}[m] for m in example.marks[1:]])
        total, weighted = total + (nll * weights).sum(), weighted + weights.sum()
    (total / weighted).backward()
    theirs = dict(model.named_parameters())
    found = engine.gradients([examples[:4]], adapter, prompt_weight)
    assert found.loss == pytest.approx((total / weighted).item(), abs=1e-6)
    assert found.tokens == sum(mark > 0 for example in examples[:4] for mark in example.marks)
    for name, (a, b) in found.factors.items():
        prefix = f"base_model.model.{name}.lora"
        torch.testing.assert_close(a, theirs[f"{prefix}_A.default.weight"].grad, atol=1e-6, rtol=0)
        torch.testing.assert_close(b, theirs[f"{prefix}_B.default.weight"].grad, atol=1e-6, rtol=0)
        assert a.abs().sum() > 0


def test_microbatches_change_the_gradient_by_less_than_1e_5(engine, examples):
    adapter = random_b(engine)
    whole = engine.gradients([examples], adapter, 0.1)
    for size in (1, 5):
        parts = [examples[at : at + size] for at in range(0, len(examples), size)]
        found = engine.gradients(parts, adapter, 0.1)
        assert found.loss == pytest.approx(whole.loss, abs=1e-5)
        for name, pair in found.factors.items():
            for ours, theirs in zip(pair, whole.factors[name], strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_the_users_words_weigh_what_the_recipe_says(engine, examples):
    adapter = random_b(engine)
    example = examples[3]
    answer = engine.losses([example], adapter, "answer")[0]
    prompt = engine.losses([example], adapter, "prompt")[0]
    n, m = example.count("answer"), example.count("prompt")
    for weight in (0.0, 0.1, 1.0):
        found = engine.gradients([[example]], adapter, weight)
        expected = (n * answer + weight * m * prompt) / (n + weight * m)
        assert found.loss == pytest.approx(expected, abs=1e-5)
        assert found.tokens == (n + m if weight else n)


def test_a_first_token_has_no_loss_and_no_weight(engine):
    """A template may begin with the user's words: nothing stands before them to guess from."""
    first = Example((40, 41, 42, 43), bytes([1, 1, 2, 2]))
    adapter = random_b(engine)
    answer = engine.losses([first], adapter, "answer")[0]
    prompt = engine.losses([first], adapter, "prompt")[0]
    found = engine.gradients([[first]], adapter, 0.5)
    assert found.tokens == 3
    assert found.loss == pytest.approx((2 * answer + 0.5 * prompt) / 2.5, abs=1e-5)
