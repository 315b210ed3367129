"""A training as an iterator of optimizer steps that somebody else pulls.

The session knows no clock, no heat and no disk. Whoever holds it may stop
between any two steps, write ``checkpoint()`` down, and continue next night in
another process: the resulting adapter is equal bit for bit. That holds because
everything that changes is one value (three flat vectors and two counts), replaced
whole at the end of a step, so that a Ctrl-C in the middle finds the state before it;
the order of corrections is a function of seed and step, not of a generator's state.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from hivelearn.errors import UsageError
from hivelearn.inference.chat import Example
from hivelearn.inference.engine import Engine, require
from hivelearn.patch.adapter import Adapter
from hivelearn.training.checkpoint import TrainingId, read_checkpoint, write_checkpoint
from hivelearn.training.init_lora import initial_factors
from hivelearn.training.optimizer import DivergedError, TrainingState, adamw
from hivelearn.training.recipe import Recipe, match_targets


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimizer step did."""

    index: int  # 0 …
    of: int
    loss: float  # weighted mean, nats per token
    rate: float
    tokens: int


class TrainingSession:
    """Trains one LoRA on ``examples``; iterate over it to make steps.

    Args:
        engine: the model, through the Engine protocol alone.
        examples: corrections as examples, in an order that does not depend on chance.
        recipe: how; its rate is fixed for the model's width here.
        domain: keys the shared A.
        names: what the caller calls each example. A checkpoint carries them, so that the
            caller can bring the same examples again (``names_in``) when others have come.

    Raises:
        UsageError: no examples, or an engine that gives no gradients.
    """

    def __init__(
        self,
        engine: Engine,
        examples: Sequence[Example],
        recipe: Recipe,
        domain: str,
        names: Sequence[str] = (),
    ) -> None:
        if not examples:
            raise nothing_to_learn(domain)
        require(engine, "gradients", "training")
        self._engine = engine
        self._examples, self._names = tuple(examples), tuple(names)
        self._domain = domain
        self.recipe = recipe.for_width(engine.width)
        shapes = engine.shapes()
        modules = match_targets(recipe.targets, list(shapes))
        factors = initial_factors(engine.base, domain, shapes, modules, recipe.rank)
        self._layout = [(name, tuple(a.shape), tuple(b.shape)) for name, (a, b) in factors.items()]
        weights = _flat(list(factors.values()))
        self._state = TrainingState(weights, torch.zeros_like(weights), torch.zeros_like(weights))
        self._trained = self._trained_mask() if recipe.freeze_a else None

    @property
    def done(self) -> int:
        """How many steps are made."""
        return self._state.done

    @property
    def tokens(self) -> int:
        """How many tokens carried weight in them."""
        return self._state.tokens

    def __iter__(self) -> Iterator[Step]:
        """Make the remaining steps, one a turn."""
        while self.done < self.recipe.steps:
            yield self.step()

    def step(self) -> Step:
        """Make one optimizer step and say what it did.

        Raises:
            DivergedError: the loss or its gradient is not finite.
        """
        index = self.done
        examples = [self._examples[i] for i in self._order(index)]
        size = self.recipe.microbatch
        batches = [examples[at : at + size] for at in range(0, len(examples), size)]
        got = self._engine.gradients(batches, self.adapter(), self.recipe.prompt_weight)
        gradient = _flat([got.factors[name] for name, _, _ in self._layout])
        try:
            self._state = adamw(self._state, gradient, got.tokens, self.recipe, self._trained)
        except DivergedError as error:
            raise DivergedError(f"{self._domain}: {error.what}") from error
        rate = self.recipe.rate_at(index)
        return Step(index, self.recipe.steps, got.loss, rate, got.tokens)

    def _order(self, index: int) -> list[int]:
        """Return which examples a step takes: each once an epoch, each epoch in its own order."""
        size = min(self.recipe.batch, len(self._examples))
        first = index * size
        return [
            _shuffled(len(self._examples), self.recipe.seed, at // len(self._examples))[
                at % len(self._examples)
            ]
            for at in range(first, first + size)
        ]

    def _trained_mask(self) -> Tensor:
        return _flat([(torch.zeros(a), torch.ones(b)) for _, a, b in self._layout])

    def adapter(self) -> Adapter:
        """Return the adapter as it stands (float32, a copy)."""
        factors, at = {}, 0
        for name, a, b in self._layout:
            middle = at + a[0] * a[1]
            end = middle + b[0] * b[1]
            factors[name] = (
                self._state.weights[at:middle].view(a).clone(),
                self._state.weights[middle:end].view(b).clone(),
            )
            at = end
        return Adapter(factors, self.recipe.rank, self.recipe.alpha, self._engine.base)

    def checkpoint(self) -> bytes:
        """Return the whole state after the last step, as safetensors bytes."""
        return write_checkpoint(self._state, self._id(), self._names)

    def restore(self, checkpoint: bytes) -> Self:
        """Continue from ``checkpoint``; return this session.

        Raises:
            CheckpointError: it is of another training, or damaged; nothing changed.
        """
        self._state = read_checkpoint(checkpoint, self._id(), self._state.weights.numel())
        return self

    def _id(self) -> TrainingId:
        digest = hashlib.sha256(self.recipe.digest().encode() + self._engine.base)
        digest.update(self._domain.encode())
        for example in self._examples:
            digest.update(json.dumps([list(example.tokens), example.marks.hex()]).encode())
        return TrainingId(digest.hexdigest(), self.recipe)


def nothing_to_learn(domain: str, held_out: int = 0) -> UsageError:
    """Return the error of a training without corrections, or of one that may only judge."""
    if held_out:
        count = f"{held_out} correction{'' if held_out == 1 else 's'}"
        what = f"{count} in {domain!r}, held out to judge by: add more"
    else:
        what = f"there are no corrections to train on in {domain!r}"
    return UsageError(
        what,
        remedy="Correct some answers first: `hivelearn correct`, answer.correct(...), "
        "or node.corrections.import_from(path). One question in five is held out for judging.",
    )


def _flat(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for pair in pairs for t in pair])


@lru_cache(maxsize=4)
def _shuffled(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return tuple(order)
