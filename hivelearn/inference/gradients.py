"""Gradients of an adapter's factors: of a whole batch, and clipped an example at a time.

What the model says of its examples comes as a function, so that an engine only
has to let the factors act while these run.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from hivelearn.bounds import check, real
from hivelearn.errors import UsageError
from hivelearn.inference.chat import ANSWER, CONTENT, Example
from hivelearn.inference.clipped_gradients import ClippedSum
from hivelearn.inference.engine import ClippedGradients, Gradients

Leaves: TypeAlias = Mapping[str, tuple[Tensor, Tensor]]  # factors that gradients are asked for
# Examples and the marks that are asked for, to (nll, marks), each (n, longest - 1): nats of
# every next token (0 where nobody asks) and what it is.
Nll: TypeAlias = Callable[[Sequence[Example], Collection[int]], tuple[Tensor, Tensor]]


def batch_gradients(
    nll: Nll, leaves: Leaves, microbatches: Sequence[Sequence[Example]], prompt_weight: float
) -> Gradients:
    """Return the gradients of Σ w·nll / Σ w over all examples.

    Raises:
        UsageError: no token carries weight.
    """
    carried = [
        weight
        for batch in microbatches
        for example in batch
        for weight in _token_weights(example, prompt_weight)
    ]
    weighted = math.fsum(carried)
    if not weighted > 0:
        raise UsageError(
            "nothing to learn: no token of these examples carries weight",
            remedy="Give examples with answers, as ChatEncoder.pair makes them.",
        )
    loss = 0.0
    with torch.enable_grad():
        for batch in microbatches:
            part = _weighted_nll(nll, batch, prompt_weight) / weighted
            part.backward()  # type: ignore[no-untyped-call]
            loss += float(part.detach())
    tokens = sum(weight > 0 for weight in carried)
    factors = {
        name: (_or_zero(a, a.grad).cpu(), _or_zero(b, b.grad).cpu())
        for name, (a, b) in leaves.items()
    }
    return Gradients(loss, tokens, factors)


def clipped_sum(
    nll: Nll,
    leaves: Leaves,
    examples: Sequence[Example],
    prompt_weight: float,
    clip_norm: float,
) -> ClippedGradients:
    """Return the sum of each example's own gradient, cut to ``clip_norm``.

    One pass an example is slower than a vectorised one, and exact for every model:
    no padding, and no neighbour in a batch that routing or a buffer could let in.

    Raises:
        UsageError: ``clip_norm`` is no positive number.
    """
    check({"clip_norm": real(0, above=True)}, {"clip_norm": clip_norm})
    flat = [leaf for pair in leaves.values() for leaf in pair]
    total, losses = ClippedSum(flat, clip_norm), []
    with torch.enable_grad():
        for example in examples:
            weighted = math.fsum(_token_weights(example, prompt_weight))
            if not weighted > 0:
                continue
            loss = _weighted_nll(nll, [example], prompt_weight) / weighted
            found = torch.autograd.grad(loss, flat, allow_unused=True)
            total.add([_or_zero(leaf, each) for leaf, each in zip(flat, found, strict=True)])
            losses.append(float(loss.detach()))
    sums = iter(total.sums())
    return ClippedGradients(
        loss=math.fsum(losses) / len(losses) if losses else math.nan,
        count=len(examples),
        clipped_share=total.clipped / max(1, len(examples)),
        factors={name: (next(sums), next(sums)) for name in leaves},
    )


def _weighted_nll(nll: Nll, examples: Sequence[Example], prompt_weight: float) -> Tensor:
    """Return Σ w·nll over the examples: answers weigh 1, the user's words ``prompt_weight``."""
    nats, marks = nll(examples, (ANSWER, CONTENT) if prompt_weight else (ANSWER,))
    weight = (marks == ANSWER) + prompt_weight * (marks == CONTENT)
    return (nats * weight).sum()


def _token_weights(example: Example, prompt_weight: float) -> list[float]:
    """Return the weight of each token but the first, which nothing stands before."""
    weights = {ANSWER: 1.0, CONTENT: prompt_weight}
    return [weights.get(mark, 0.0) for mark in example.marks[1:]]


def _or_zero(leaf: Tensor, gradient: Tensor | None) -> Tensor:
    # A module that no token reached (an idle expert of a mixture) has no gradient: zero.
    return torch.zeros_like(leaf) if gradient is None else gradient
