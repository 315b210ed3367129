"""No example counts for more than the clip: what noise must hide is bounded."""

import math

import pytest
import torch
from torch.nn import functional as F

from hivelearn.errors import UsageError
from hivelearn.inference.chat import Example
from hivelearn.inference.clipped_gradients import ClippedSum

PAIRS = [("Write 14.", "XIV"), ("a", "b"), ("Say when the fox jumps over the dog.", "never")]
PROMPT_WEIGHT = 0.1
ROUNDING = 1 + 1e-6  # of a sum in float32


@pytest.fixture(scope="module")
def examples(llama):
    return [llama.encoder.pair(*pair) for pair in PAIRS]


@pytest.fixture(scope="module")
def adapter(llama, adapter_for):
    return adapter_for(llama)


def flat(factors):
    return torch.cat([t.double().reshape(-1) for pair in factors.values() for t in pair])


def alone(engine, adapter, example):
    """Loss and gradient of one example: hooks of this test, autograd, nothing of the engine."""
    leaves = {
        name: tuple(t.clone().requires_grad_() for t in pair)
        for name, pair in adapter.factors.items()
    }
    modules = dict(engine.model.named_modules())
    hooks = [
        modules[name].register_forward_hook(
            lambda _, args, out, a=a, b=b: out + args[0] @ a.T @ b.T * adapter.scale
        )
        for name, (a, b) in leaves.items()
    ]
    ids = torch.tensor([example.tokens])
    logits = engine.model(input_ids=ids).logits[0, :-1]
    for hook in hooks:
        hook.remove()
    nll = F.cross_entropy(logits, ids[0, 1:], reduction="none")
    weights = torch.tensor([{0: 0.0, 1: PROMPT_WEIGHT, 2: 1.0}[m] for m in example.marks[1:]])
    loss = (nll * weights).sum() / weights.sum()
    loss.backward()
    return loss.item(), flat({name: [t.grad for t in pair] for name, pair in leaves.items()})


def test_the_sum_is_that_of_examples_alone_each_cut_to_the_clip(llama, adapter, examples):
    """Reference: each example by itself with autograd, as Algorithm 1 of arXiv:1607.00133 says."""
    losses, gradients = zip(*(alone(llama, adapter, each) for each in examples), strict=True)
    norms = sorted(float(gradient.norm()) for gradient in gradients)
    for clip, clipped in ((norms[1] * 0.99, 2), (norms[0] * 0.5, 3), (norms[2] * 1.01, 0)):
        expected = sum(gradient * min(1.0, clip / float(gradient.norm())) for gradient in gradients)
        found = llama.clipped_gradients([examples], adapter, PROMPT_WEIGHT, clip)
        torch.testing.assert_close(flat(found.factors), expected, atol=1e-6, rtol=1e-5)
        assert found.loss == pytest.approx(sum(losses) / 3, abs=1e-5)
        assert (found.count, found.clipped_share) == (3, clipped / 3)
        assert all(t.dtype is torch.float32 for pair in found.factors.values() for t in pair)


def test_one_example_moves_the_sum_by_the_clip_at_most_whatever_it_is(llama, adapter, examples):
    clip = 0.01
    without = flat(llama.clipped_gradients([examples], adapter, PROMPT_WEIGHT, clip).factors)
    strangers = {
        "an honest one": llama.encoder.pair("Hello", "there"),
        "a long one": llama.encoder.pair("fox " * 70, "dog " * 20),
        "one answer token": Example((5, 6), bytes([0, 2])),
        "nothing to learn": Example((5, 6, 7), bytes(3)),
        "a copy of another": examples[0],
    }
    for stranger in strangers.values():
        found = llama.clipped_gradients([[*examples, stranger]], adapter, PROMPT_WEIGHT, clip)
        moved = float((flat(found.factors) - without).norm())
        assert moved <= clip * ROUNDING
        assert moved == 0 if not any(stranger.marks) else moved == pytest.approx(clip, rel=1e-4)
        assert found.count == 4


def test_neighbours_and_microbatches_change_no_bit(llama, adapter, examples):
    """Nothing is padded to a neighbour's length."""
    whole = llama.clipped_gradients([examples], adapter, PROMPT_WEIGHT, 0.1)
    parts = llama.clipped_gradients([[each] for each in examples], adapter, PROMPT_WEIGHT, 0.1)
    assert torch.equal(flat(whole.factors), flat(parts.factors))
    assert (whole.loss, whole.count) == (parts.loss, parts.count)


def test_no_examples_are_a_sum_of_zero(llama, adapter):
    """A batch drawn at random may be empty; its noise is added all the same."""
    found = llama.clipped_gradients([], adapter, PROMPT_WEIGHT, 1.0)
    assert not flat(found.factors).any()
    assert (found.count, found.clipped_share) == (0, 0.0)
    assert math.isnan(found.loss)


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), float("inf"), True, None])
def test_a_clip_that_bounds_nothing_is_refused(llama, adapter, examples, clip):
    with pytest.raises(UsageError, match="clip_norm"):
        llama.clipped_gradients([examples], adapter, PROMPT_WEIGHT, clip)


def test_a_gradient_that_is_not_finite_or_huge_does_not_spread():
    total = ClippedSum([torch.zeros(2), torch.zeros(1)], 2.0)
    for bad in (float("nan"), float("inf"), -float("inf")):
        total.add([torch.tensor([bad, 1.0]), torch.tensor([1.0])])
    assert [part.tolist() for part in total.sums()] == [[0.0, 0.0], [0.0]]
    total.add([torch.tensor([3e38, 0.0]), torch.tensor([0.0])])  # its square is beyond float32
    total.add([torch.tensor([0.0, 0.0]), torch.tensor([1.5])])
    assert [part.tolist() for part in total.sums()] == [[2.0, 0.0], [1.5]]
    assert total.clipped == 4
