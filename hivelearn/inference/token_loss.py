"""Nats of the tokens that are asked for; the others never become logits.

A row of logits is as wide as the vocabulary: with 49,152 words, 16 examples of 70
tokens hold 220 MB of them, and their softmax and gradient as much again. Most stand
under the template, where nobody asks. So the body of the model runs first, and then
its head, over the wanted positions alone, a chunk at a time.

The head is the model's own: the same object, with a body that repeats given hidden
states. Ties, biases, soft caps (Gemma 2) and scales (Cohere, Granite) are therefore
right without a list of architectures. A model that cannot be taken apart so, found
out by comparing the two once, computes all its logits as before.

What is padded and which examples go together is for the callers.
"""

import copy
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from hivelearn.inference.batches import padded
from hivelearn.inference.chat import Example

CHUNK_LOGITS: Final = 1 << 23  # floats of logits at once; softmax and gradient as many again
_SAME: Final = 1e-2  # of the largest logit: a lost cap or scale moves more, sixteen bits less
Head: TypeAlias = Callable[[Tensor], Tensor]  # (m, d) hidden states to (m, vocabulary) logits

log: Final = logging.getLogger("hivelearn.inference")


class TokenLoss:
    """Tells how surprised a model is by chosen tokens. Its caller holds the model's lock.

    Args:
        model: a transformers causal language model.
        pad_id: fills up short examples.
        chunk_logits: floats of logits at once.
    """

    def __init__(self, model: Any, pad_id: int, chunk_logits: int = CHUNK_LOGITS) -> None:
        self._model, self._pad_id = model, pad_id
        self._chunk = max(1, chunk_logits // model.config.get_text_config().vocab_size)
        self._shell: _Shell | None = None
        self._tried = False

    @property
    def apart(self) -> bool:
        """Whether body and head run apart; tried once, without an adapter's help or harm."""
        if not self._tried:
            self._shell, self._tried = _taken_apart(self._model), True
        return self._shell is not None

    def __call__(
        self, examples: Sequence[Example], marks: Collection[int]
    ) -> tuple[Tensor, Tensor]:
        """Return (nll, marks), each (n, longest - 1): nats of each next token and what it is.

        A token whose mark is not among ``marks`` has 0 nats: nobody looked.
        """
        device = next(self._model.parameters()).device
        ids, mask, seen = (t.to(device) for t in padded(examples, self._pad_id))
        kinds = seen[:, 1:]
        wanted = torch.isin(kinds, torch.tensor(sorted(marks), device=device, dtype=kinds.dtype))
        given = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        if self.apart and (shell := self._shell) is not None:
            out = shell.body(**given)
            hidden = out.last_hidden_state[:, :-1][wanted]  # (m, d)
            targets = ids[:, 1:][wanted]
            found = _nats(lambda some: shell.logits(out, some), hidden, targets, self._chunk)
        else:
            logits = self._model(**given).logits[:, :-1][wanted]
            found = F.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none")
        nll = torch.zeros(kinds.shape, device=device, dtype=found.dtype)
        return nll.masked_scatter(wanted, found), kinds


class _Shell:
    """A causal model without a body of its own: what it does with hidden states."""

    def __init__(self, model: Any) -> None:
        self.body = getattr(model, model.base_model_prefix)
        self._repeat = _Repeat()
        # A copy with its own table of the same modules: the model itself is not touched.
        self._model = copy.copy(model)
        table = {**vars(model)["_modules"], model.base_model_prefix: self._repeat}
        vars(self._model)["_modules"] = table

    def logits(self, out: Any, hidden: Tensor) -> Tensor:
        """Return the logits (m, vocabulary) of ``hidden`` (m, d); ``out`` is what the body gave."""
        said = copy.copy(out)
        said["last_hidden_state"] = hidden[None]
        self._repeat.said = said
        try:
            places = torch.zeros((1, len(hidden)), dtype=torch.long, device=hidden.device)
            logits: Tensor = self._model(input_ids=places, use_cache=False).logits
        finally:
            self._repeat.said = None
        return logits[0]


class _Repeat(torch.nn.Module):
    """A body that repeats what it was told."""

    said: Any = None

    def forward(self, *_: object, **__: object) -> Any:
        return self.said


def _taken_apart(model: Any) -> _Shell | None:
    """Return the model's shell if body and head in turn say what the whole model says."""
    places = torch.arange(4, device=next(model.parameters()).device)[None]
    given = {"input_ids": places, "attention_mask": torch.ones_like(places), "use_cache": False}
    try:
        shell = _Shell(model)
        with torch.no_grad():
            whole = model(**given).logits[0].float()
            out = shell.body(**given)
            # In another order: a head that looks at neighbours is no head of one position.
            apart = shell.logits(out, out.last_hidden_state[0].flip(0)).float().flip(0)
            same = whole.shape == apart.shape and bool(
                (whole - apart).abs().max() <= _SAME * whole.abs().max()
            )
    except Exception as error:  # noqa: BLE001 - foreign code of any shape; the plain way stays
        log.info("%s computes all logits: %r", type(model).__name__, error)
        return None
    if not same:
        log.info("%s computes all logits: its head does more", type(model).__name__)
    return shell if same else None


def _nats(head: Head, hidden: Tensor, targets: Tensor, chunk: int) -> Tensor:
    """Return the nats (m,) of ``targets`` (m,) under the head of ``hidden`` (m, d)."""
    if torch.is_grad_enabled() and hidden.requires_grad:
        found: Tensor = _NatsWithSlopes.apply(head, hidden, targets, chunk)  # type: ignore[no-untyped-call]
        return found
    parts = [
        F.cross_entropy(head(some).float(), words, reduction="none")
        for some, words in _chunks(hidden, targets, chunk)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)


def _chunks(hidden: Tensor, targets: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return ((hidden[at : at + size], targets[at : at + size]) for at in range(0, len(hidden), size))


class _NatsWithSlopes(torch.autograd.Function):
    """Nats of a head, whose logits are let go before the next chunk's are computed.

    The nats of a position depend on its own hidden state and no other. So one backward
    pass from their sum gives the slope of each, and (m, d) slopes are kept instead of
    (m, vocabulary) logits: no logit is computed twice.
    """

    @staticmethod
    def forward(ctx: Any, head: Head, hidden: Tensor, targets: Tensor, chunk: int) -> Tensor:
        nats, slopes = [], []
        for some, words in _chunks(hidden, targets, chunk):
            with torch.enable_grad():
                leaf = some.detach().requires_grad_()
                part = F.cross_entropy(head(leaf).float(), words, reduction="none")
                (slope,) = torch.autograd.grad(part.sum(), leaf)
            nats.append(part.detach())
            slopes.append(slope)
        ctx.save_for_backward(torch.cat(slopes) if slopes else torch.zeros_like(hidden))
        return torch.cat(nats) if nats else hidden.new_zeros(0, dtype=torch.float32)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return None, (gradient[:, None] * slopes).to(slopes.dtype), None, None
