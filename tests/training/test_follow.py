"""What a recipe leaves open follows the model and the corrections, and nothing else."""

import pytest
import torch

from hivelearn.training.follow import Given, batch_for, fixed, steps_most, token_bytes
from hivelearn.training.recipe import Recipe

SHAPES = {"q": (576, 576), "down": (576, 1536)}


def given(width=576, corrections=208, memory_bytes=1 << 20):
    return Given(width, SHAPES, corrections, memory_bytes)


def test_a_fixed_recipe_leaves_nothing_open_and_stays_as_it_is():
    recipe = fixed(Recipe(), given())
    assert None not in [getattr(recipe, name) for name in Recipe.__slots__]
    assert fixed(recipe, given(width=64, corrections=3, memory_bytes=1)) == recipe


def test_what_is_stated_is_kept():
    stated = Recipe(steps=5, batch=3, rate=0.3, pass_tokens=7)
    recipe = fixed(stated, given())
    assert (recipe.steps, recipe.batch, recipe.rate, recipe.pass_tokens) == (5, 3, 0.3, 7)
    assert recipe.ends_early is False  # as many as were asked for
    assert fixed(Recipe(steps=5, ends_early=True), given()).ends_early is True
    assert fixed(Recipe(), given()).ends_early is True


def test_a_wider_model_learns_slower():
    rates = [fixed(Recipe(), given(width)).rate for width in (8, 64, 192, 576, 4096)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 0.01


def test_a_step_takes_more_where_there_are_more_and_every_size_can_be_trained():
    sizes = (1, 24, 80, 208, 2400, 10**6)
    batches = [batch_for(count) for count in sizes]
    assert batches == sorted(batches)
    assert {batch & (batch - 1) for batch in batches} == {0}
    for count, batch in zip(sizes, batches, strict=True):
        assert steps_most(count, batch) * batch >= count


@pytest.mark.parametrize("memory_bytes", [1, 1 << 20, 1 << 30])
def test_a_pass_keeps_to_the_memory_but_holds_a_short_example(memory_bytes):
    tokens = fixed(Recipe(), given(memory_bytes=memory_bytes)).pass_tokens
    assert tokens == 64 or tokens * token_bytes(SHAPES) <= memory_bytes


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_the_bytes_of_a_token_are_about_what_autograd_keeps(engine_of, family):
    """Counted by torch's own hooks on what it saves for the way back."""
    engine, kept = engine_of(family), {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    example = engine.encoder.pair("the quick brown fox " * 12, "the lazy dog " * 8)
    weights = {p.untyped_storage().data_ptr() for p in engine.model.parameters()}
    factors = {
        name: (torch.zeros(2, i, requires_grad=True), torch.zeros(o, 2, requires_grad=True))
        for name, (o, i) in engine.shapes().items()
    }
    from hivelearn.inference.lora import attach

    with attach(engine.model, factors, 1.0), torch.autograd.graph.saved_tensors_hooks(note, id):
        engine.model.base_model(torch.tensor([example.tokens]), use_cache=False)
    small = {f.untyped_storage().data_ptr() for pair in factors.values() for f in pair}
    found = sum(size for place, size in kept.items() if place not in weights | small)
    estimate = token_bytes(engine.shapes()) * len(example.tokens)
    assert 0.5 * estimate < found < 2.0 * estimate
