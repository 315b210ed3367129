"""Loss and gradient of chosen tokens are the plain way's, though few logits are ever held."""

import pytest
import torch
import transformers as tf
from torch.nn import functional as F

from hivelearn.inference import lora
from hivelearn.inference.batches import padded
from hivelearn.inference.chat import ANSWER, CONTENT, Example
from hivelearn.inference.token_loss import TokenLoss

SIZE = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0}
CONFIGS = {
    "llama, head of its own": lambda: tf.LlamaConfig(**SIZE, **HEADS),
    "qwen3, tied head": lambda: tf.Qwen3Config(
        **SIZE, **HEADS, head_dim=16, tie_word_embeddings=True
    ),
    "gemma2, soft cap": lambda: tf.Gemma2Config(
        **SIZE, **HEADS, head_dim=16, final_logit_softcapping=0.05
    ),
    "phi, bias": lambda: tf.PhiConfig(**SIZE, num_attention_heads=2, pad_token_id=0),
    "gpt2, transposed": lambda: tf.GPT2Config(
        vocab_size=97, n_embd=32, n_layer=2, n_head=2, pad_token_id=0
    ),
    "cohere, scale": lambda: tf.CohereConfig(**SIZE, **HEADS, logit_scale=0.0625),
    "granite, divisor": lambda: tf.GraniteConfig(**SIZE, **HEADS, logits_scaling=8.0),
    "mixture of experts": lambda: tf.MixtralConfig(
        **SIZE, **HEADS, num_local_experts=3, num_experts_per_tok=2
    ),
}
BOTH = (ANSWER, CONTENT)
CHUNK = 97 * 2  # two rows of logits at once


def model_of(name):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = tf.AutoModelForCausalLM.from_config(CONFIGS[name](), dtype=torch.float32)
    for parameter in model.parameters():  # a bias of zeros would hide its loss
        parameter.data += 0.05 * torch.sin(torch.arange(parameter.numel())).view_as(parameter)
    return model.eval().requires_grad_(requires_grad=False)


def examples():
    chance = torch.Generator().manual_seed(2)
    return [
        Example(
            tuple(torch.randint(1, 97, (n,), generator=chance).tolist()),
            bytes(torch.randint(0, 3, (n,), generator=chance).tolist()),
        )
        for n in (9, 4, 7)
    ]


def leaves_of(model):
    chance = torch.Generator().manual_seed(3)
    return {
        name: (
            (torch.randn(2, d_in, generator=chance) * 0.1).requires_grad_(),
            (torch.randn(d_out, 2, generator=chance) * 0.1).requires_grad_(),
        )
        for name, (d_out, d_in) in lora.linear_shapes(model).items()
    }


def plain(model, rows):
    """Reference: transformers' own logits of everything, and cross entropy."""
    ids, mask, marks = padded(rows, 0)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    nll = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return nll, marks[:, 1:]


def loss_and_slopes(nll_and_marks, leaves):
    nll, marks = nll_and_marks
    loss = (nll * ((marks == ANSWER) + 0.1 * (marks == CONTENT))).sum()
    flat = [leaf for pair in leaves.values() for leaf in pair]
    slopes = torch.autograd.grad(loss, flat, allow_unused=True)
    return loss.item(), torch.cat([s.reshape(-1) for s in slopes if s is not None])


@pytest.mark.parametrize("name", CONFIGS)
def test_loss_and_gradient_are_those_of_all_logits(name):
    model = model_of(name)
    leaves, ours = leaves_of(model), TokenLoss(model, 0, CHUNK)
    assert ours.apart
    with lora.attach(model, leaves, 2.0):
        expected, slopes = loss_and_slopes(plain(model, examples()), leaves)
        found, made = loss_and_slopes(ours(examples(), BOTH), leaves)
    assert found == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(made, slopes, atol=1e-5, rtol=1e-4)
    with torch.inference_mode():
        nll, marks = ours(examples(), (ANSWER,))
        reference, _ = plain(model, examples())
    torch.testing.assert_close(nll, reference * (marks == ANSWER), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_no_more_logits_are_held_than_a_chunk_and_none_where_nobody_asks(name):
    model, held = model_of(name), []
    ours = TokenLoss(model, 0, CHUNK)
    assert ours.apart
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda _, __, out: held.append(out.numel()))
    with lora.attach(model, leaves_of(model), 2.0):
        ours(examples(), BOTH)
    asked = sum(m in BOTH for each in examples() for m in each.marks[1:])
    assert max(held) <= CHUNK
    assert sum(held) == asked * 97


def test_the_model_is_left_as_it_was():
    model = model_of("gemma2, soft cap")
    modules, (before, _) = dict(model.named_modules()), plain(model, examples())
    TokenLoss(model, 0, CHUNK)(examples(), BOTH)
    assert dict(model.named_modules()) == modules
    torch.testing.assert_close(plain(model, examples())[0], before, atol=0, rtol=0)


def test_nothing_asked_is_nothing_said():
    model = model_of("llama, head of its own")
    rows = [Example((5, 6, 7), bytes(3))]
    nll, _ = TokenLoss(model, 0)(rows, BOTH)
    assert nll.tolist() == [[0.0, 0.0]]


class Odd(tf.LlamaForCausalLM):
    """A head that looks at its neighbours: no function of one hidden state."""

    def forward(self, *args, **given):
        out = super().forward(*args, **given)
        out.logits = out.logits + out.logits.cumsum(dim=1)
        return out


class Bare(tf.LlamaForCausalLM):
    """A model that does not say where its body is."""

    base_model_prefix = "nowhere"


@pytest.mark.parametrize("kind", [Odd, Bare])
def test_a_model_that_cannot_be_taken_apart_computes_all_logits_as_before(kind):
    model = model_of("llama, head of its own")
    model.__class__ = kind
    ours = TokenLoss(model, 0, CHUNK)
    assert not ours.apart
    nll, marks = ours(examples(), BOTH)
    reference, _ = plain(model, examples())
    torch.testing.assert_close(nll, reference * (marks > 0), atol=1e-6, rtol=1e-5)
