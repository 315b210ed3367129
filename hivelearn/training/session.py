"""A training as an iterator of optimizer steps that somebody else pulls.

The session knows no clock, no heat and no disk. Whoever holds it may stop
between any two steps, write ``checkpoint()`` down, and continue next night in
another process: the resulting adapter is equal bit for bit. That holds because
everything that changes lies in three flat vectors and a step number; the order
of corrections is a function of the seed and the step, not of a generator's state.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import safetensors.torch
import torch
from torch import Tensor

from hivelearn.errors import UsageError
from hivelearn.inference.engine import Engine
from hivelearn.inference.rows import Row
from hivelearn.patch.adapter import Adapter
from hivelearn.training import start
from hivelearn.training.recipe import Recipe, chosen

_FORMAT: Final = "1"


class CheckpointError(UsageError):
    """A checkpoint belongs to another training or is damaged."""

    remedy = "Start the training anew: the corrections are all still there."


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimizer step did."""

    index: int  # 0 …
    of: int
    loss: float  # weighted mean, nats per token
    rate: float
    tokens: int


class Session:
    """Trains one LoRA on ``rows``; iterate over it to make steps.

    Args:
        engine: the model, through the Engine protocol alone.
        rows: corrections as rows, in an order that does not depend on chance.
        recipe: how; its rate is fixed for the model's width here.
        domain: keys the shared A.

    Raises:
        UsageError: no rows.
    """

    def __init__(self, engine: Engine, rows: Sequence[Row], recipe: Recipe, domain: str) -> None:
        if not rows:
            raise UsageError(
                f"there are no corrections to train on in {domain!r}",
                remedy="Ask, then answer.correct(...); or import them: node.corrections.import_jsonl(path).",
            )
        self._engine = engine
        self._rows = tuple(rows)
        self._domain = domain
        self.recipe = recipe.for_width(engine.width)
        shapes = engine.shapes()
        names = chosen(recipe.targets, list(shapes))
        factors = start.factors(engine.base, domain, shapes, names, recipe.rank)
        self._layout = [(name, tuple(a.shape), tuple(b.shape)) for name, (a, b) in factors.items()]
        self._weights = _flat(list(factors.values()))
        self._mean = torch.zeros_like(self._weights)
        self._square = torch.zeros_like(self._weights)
        self._trained = self._trained_mask() if recipe.freeze_a else None
        self.done = 0
        self.tokens = 0

    def __iter__(self) -> Iterator[Step]:
        """Make the remaining steps, one a turn."""
        while self.done < self.recipe.steps:
            yield self.step()

    def step(self) -> Step:
        """Make one optimizer step and say what it did."""
        index = self.done
        rows = [self._rows[i] for i in self._order(index)]
        size = self.recipe.microbatch
        batches = [rows[at : at + size] for at in range(0, len(rows), size)]
        got = self._engine.gradients(batches, self.adapter(), self.recipe.prompt_weight)
        gradient = _flat([got.factors[name] for name, _, _ in self._layout])
        self._update(gradient, index)
        self.done, self.tokens = index + 1, self.tokens + got.tokens
        rate = self.recipe.rate_at(index)
        return Step(index, self.recipe.steps, got.loss, rate, got.tokens)

    def _order(self, index: int) -> list[int]:
        """Return the rows of a step: every row once an epoch, each epoch in its own order."""
        size = min(self.recipe.batch, len(self._rows))
        first = index * size
        return [
            _shuffled(len(self._rows), self.recipe.seed, at // len(self._rows))[
                at % len(self._rows)
            ]
            for at in range(first, first + size)
        ]

    def _update(self, gradient: Tensor, index: int) -> None:
        """AdamW with decoupled decay (arXiv:1711.05101, Algorithm 2), in place, float32."""
        r = self.recipe
        if self._trained is not None:
            gradient = gradient * self._trained
        norm = float(gradient.norm())
        if norm > r.clip:
            gradient = gradient * (r.clip / norm)
        rate = r.rate_at(index)
        self._mean.lerp_(gradient, 1 - r.beta1)
        self._square.mul_(r.beta2).addcmul_(gradient, gradient, value=1 - r.beta2)
        seen = index + 1
        scale = rate / (1 - r.beta1**seen)
        root = (self._square / (1 - r.beta2**seen)).sqrt_().add_(r.eps)
        if r.weight_decay:
            keep = self._weights * (rate * r.weight_decay)
            self._weights.sub_(keep if self._trained is None else keep * self._trained)
        self._weights.addcdiv_(self._mean, root, value=-scale)

    def _trained_mask(self) -> Tensor:
        return _flat([(torch.zeros(a), torch.ones(b)) for _, a, b in self._layout])

    def adapter(self) -> Adapter:
        """Return the adapter as it stands (float32, a copy)."""
        factors, at = {}, 0
        for name, a, b in self._layout:
            middle = at + a[0] * a[1]
            end = middle + b[0] * b[1]
            factors[name] = (
                self._weights[at:middle].view(a).clone(),
                self._weights[middle:end].view(b).clone(),
            )
            at = end
        return Adapter(factors, self.recipe.rank, self.recipe.alpha, self._engine.base)

    def identity(self) -> str:
        """Return a hash of everything that the result depends on, but the step."""
        digest = hashlib.sha256(self.recipe.digest().encode() + self._engine.base)
        digest.update(self._domain.encode())
        for row in self._rows:
            digest.update(json.dumps([list(row.tokens), row.marks.hex()]).encode())
        return digest.hexdigest()

    def checkpoint(self) -> bytes:
        """Return the whole state after the last step, as safetensors bytes."""
        tensors = {"weights": self._weights, "mean": self._mean, "square": self._square}
        about = [_FORMAT, self.identity(), self.done, self.tokens]
        return safetensors.torch.save(tensors, metadata={"session": json.dumps(about)})

    def restore(self, checkpoint: bytes) -> Self:
        """Continue from ``checkpoint``; return this session.

        Raises:
            CheckpointError: it is of another training, or damaged; nothing changed.
        """
        try:
            size = int.from_bytes(checkpoint[:8], "little")
            table = json.loads(checkpoint[8 : 8 + size])
            about = json.loads(table["__metadata__"]["session"])
            tensors = safetensors.torch.load(checkpoint)
            vectors = [tensors[name] for name in ("weights", "mean", "square")]
            version, identity, done, tokens = about
        except Exception as error:  # a cut file fails in many ways, all meaning the same
            raise CheckpointError(f"the checkpoint is damaged: {error}") from error
        if version != _FORMAT or identity != self.identity():
            raise CheckpointError("the checkpoint is of other corrections, recipe or model")
        if any(v.shape != self._weights.shape for v in vectors):
            raise CheckpointError("the checkpoint's vectors have the wrong length")
        self._weights, self._mean, self._square = (v.clone() for v in vectors)
        self.done, self.tokens = int(done), int(tokens)
        return self


def _flat(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for pair in pairs for t in pair])


@lru_cache(maxsize=4)
def _shuffled(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(order)  # noqa: S311 - an order, not a secret
    return tuple(order)


