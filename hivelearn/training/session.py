"""A training as an iterator of optimizer steps that somebody else pulls.

The session knows no clock, no heat and no disk. Whoever holds it may stop
between any two steps, write ``checkpoint()`` down, and continue next night in
another process: the resulting adapter is equal bit for bit. That holds because
everything that changes is one value (three flat vectors, two counts, the losses so
far), replaced whole at the end of a step, so that a Ctrl-C in the middle finds the
state before it; the order of corrections is a function of seed and step, not of a
generator's state; and when to end is a function of the losses so far.
"""

import hashlib
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Self

import torch
from torch import Tensor

from hivelearn.errors import UsageError
from hivelearn.inference.batches import by_length
from hivelearn.inference.chat import Example
from hivelearn.inference.engine import Engine, Gradients, require
from hivelearn.patch.adapter import Adapter
from hivelearn.training import pace
from hivelearn.training.checkpoint import TrainingId, read_checkpoint, write_checkpoint
from hivelearn.training.curve import Curve
from hivelearn.training.follow import MEMORY_BYTES, Given, fixed, token_bytes
from hivelearn.training.init_lora import initial_factors
from hivelearn.training.optimizer import DivergedError, TrainingState, adamw
from hivelearn.training.recipe import Recipe, match_targets

VECTORS: Final = 11  # float32 vectors of the adapter's size that a step holds at once


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimizer step did."""

    index: int  # 0 …
    of: int  # how many there will be, as far as is known
    loss: float  # of the corrections: weighted mean, nats per token
    rate: float
    tokens: int  # that carried weight
    general: float | None = None  # loss of what was rehearsed
    look: float | None = None  # loss of what is watched, if this step looked


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a training learns from.

    Attributes:
        examples: corrections, in an order that does not depend on chance.
        names: what the caller calls each example. A checkpoint carries them, so that the
            caller can bring the same examples again (``names_in``) when others have come.
        rehearsed: what the base model says anyway; one a step keeps it from being forgotten.
    """

    examples: tuple[Example, ...]
    names: tuple[str, ...] = ()
    rehearsed: tuple[Example, ...] = ()


class TrainingSession:
    """Trains one LoRA; iterate over it to make steps.

    Args:
        engine: the model, through the Engine protocol alone.
        lessons: what to learn from; examples alone will do.
        recipe: how; what it leaves open is fixed here.
        domain: keys the shared A.
        memory_bytes: what one pass may keep, beside the model.
        onto: what it goes on from, of whose rank, alpha and modules the result is; None
            begins with the A that everybody shares and a B of zeros.

    Attributes:
        recipe: as it was fixed.
        domain: as given.

    Raises:
        UsageError: no examples, or an engine that gives no gradients.
    """

    def __init__(
        self,
        engine: Engine,
        lessons: Lessons | Sequence[Example],
        recipe: Recipe,
        domain: str,
        memory_bytes: int = MEMORY_BYTES,
        onto: Adapter | None = None,
    ) -> None:
        if not isinstance(lessons, Lessons):
            lessons = Lessons(tuple(lessons))
        if not lessons.examples:
            raise nothing_to_learn(domain)
        require(engine, "gradients", "training")
        self._engine, self._lessons, self.domain = engine, lessons, domain
        self._shapes = shapes = engine.shapes()
        count = len(lessons.examples)
        given = Given(engine.width, shapes, count, memory_bytes)
        self._asked, self.recipe = recipe, fixed(recipe, given)
        looked_at = pace.watched(count, self.recipe)
        self._watched = [lessons.examples[i] for i in sorted(looked_at)]
        self._learnt = [each for i, each in enumerate(lessons.examples) if i not in looked_at]
        self._onto = onto
        if onto is None:
            modules = match_targets(recipe.targets, list(shapes))
            factors = initial_factors(engine.base, domain, shapes, modules, recipe.rank)
        else:
            engine.check(onto)
            self.recipe = replace(self.recipe, rank=onto.rank, alpha=onto.alpha)
            factors = {name: (a.float(), b.float()) for name, (a, b) in onto.factors.items()}
        self._layout = [(name, tuple(a.shape), tuple(b.shape)) for name, (a, b) in factors.items()]
        weights = _flat(list(factors.values()))
        self._state = TrainingState(weights, torch.zeros_like(weights), torch.zeros_like(weights))
        self._trained = self._trained_mask() if recipe.freeze_a else None

    @property
    def done(self) -> int:
        """How many steps are made."""
        return self._state.done

    @property
    def of(self) -> int:
        """How many steps there will be, as far as is known."""
        return pace.steps_in_all(self.curve.looks, self.recipe)

    @property
    def ended(self) -> bool:
        """Whether the last step is made."""
        return self.done >= self.of

    @property
    def tokens(self) -> int:
        """How many tokens carried weight in the steps made."""
        return self._state.tokens

    @property
    def curve(self) -> Curve:
        """The losses so far."""
        return self._state.curve

    @property
    def watched(self) -> int:
        """How many corrections are looked at to know when to end, and not trained on."""
        return len(self._watched)

    @property
    def learnt_from(self) -> int:
        """How many corrections are trained on."""
        return len(self._learnt)

    @property
    def batch(self) -> int:
        """How many of them a step takes."""
        assert self.recipe.batch is not None
        return min(self.recipe.batch, len(self._learnt))

    @property
    def least_steps(self) -> int:
        """After how many steps it ends if nothing more is gained after the first looks."""
        return pace.steps_least(self._look_every, self.recipe)

    @property
    def _look_every(self) -> int:
        return pace.steps_between_looks(len(self._learnt), self.batch, watches=bool(self._watched))

    @property
    def _rehearsed(self) -> tuple[Example, ...]:
        return self._lessons.rehearsed if self.recipe.rehearsal else ()

    def __iter__(self) -> Iterator[Step]:
        """Make the remaining steps, one a turn."""
        while not self.ended:
            yield self.step()

    def step(self) -> Step:
        """Make one optimizer step and say what it did.

        Raises:
            DivergedError: the loss or its gradient is not finite.
        """
        index, looks, adapter = self.done, self.curve.looks, self.adapter()
        rate = pace.rate_at(index, looks, self.recipe)
        own = self._gradients([self._learnt[i] for i in self._order(index)], adapter)
        gradient, tokens, general = self._flat_of(own), own.tokens, None
        if beside := self._rehearsed:
            said = self._gradients([beside[index % len(beside)]], adapter)
            gradient = gradient.add(self._flat_of(said), alpha=self.recipe.rehearsal)
            tokens, general = tokens + said.tokens, said.loss
        try:
            state = adamw(self._state, gradient, rate, self.recipe, self._trained)
        except DivergedError as error:
            raise DivergedError(f"{self.domain}: {error.what}") from error
        curve = self.curve.after(own.loss, general)
        look = self._look(state, curve)
        curve = replace(curve, looks=looks if look is None else (*looks, (state.done, look)))
        self._state = replace(state, tokens=state.tokens + tokens, curve=curve)
        return Step(index, self.of, own.loss, rate, tokens, general, look)

    def _gradients(self, examples: Sequence[Example], adapter: Adapter) -> Gradients:
        assert self.recipe.pass_tokens is not None
        passes = by_length(examples, self.recipe.pass_tokens)
        batches = [[examples[i] for i in batch] for batch in passes]
        return self._engine.gradients(batches, adapter, self.recipe.prompt_weight)

    def _flat_of(self, found: Gradients) -> Tensor:
        return _flat([found.factors[name] for name, _, _ in self._layout])

    def _look(self, state: TrainingState, curve: Curve) -> float | None:
        """Return the loss that tells whether something is still gained, if it is time to look."""
        every = self._look_every
        if not self.recipe.ends_early or state.done % every:
            return None
        if not self._watched:
            return math.fsum(curve.losses[-every:]) / every
        losses = self._engine.losses(self._watched, self._adapter(state.weights), "answer")
        answered = [loss for loss in losses if not math.isnan(loss)]
        return math.fsum(answered) / max(1, len(answered))

    def _order(self, index: int) -> list[int]:
        """Return which examples a step takes: each once an epoch, each epoch in its own order."""
        count, size = len(self._learnt), self.batch
        return [
            _shuffled(count, self.recipe.seed, at // count)[at % count]
            for at in range(index * size, (index + 1) * size)
        ]

    def try_a_pass(self) -> float:
        """Make one pass of a step and change nothing; return which share of a step it was."""
        examples = [self._learnt[i] for i in self._order(self.done)]
        assert self.recipe.pass_tokens is not None
        first = [examples[i] for i in next(by_length(examples, self.recipe.pass_tokens))]
        self._gradients(first, self.adapter())
        rehearsed = max((len(row.tokens) for row in self._rehearsed), default=0)
        whole = sum(len(row.tokens) for row in examples) + rehearsed
        return sum(len(row.tokens) for row in first) / whole

    def more_bytes(self) -> int:
        """Return about how many bytes training takes beside the model."""
        assert self.recipe.pass_tokens is not None
        longest = max(len(row.tokens) for row in (*self._learnt, *self._rehearsed))
        tokens = min(max(self.recipe.pass_tokens, longest), longest * self.batch)
        return tokens * token_bytes(self._shapes) + 4 * VECTORS * self._state.weights.numel()

    def _trained_mask(self) -> Tensor:
        return _flat([(torch.zeros(a), torch.ones(b)) for _, a, b in self._layout])

    def adapter(self) -> Adapter:
        """Return the adapter as it stands (float32, a copy)."""
        return self._adapter(self._state.weights)

    def _adapter(self, weights: Tensor) -> Adapter:
        factors, at = {}, 0
        for name, a, b in self._layout:
            middle = at + a[0] * a[1]
            end = middle + b[0] * b[1]
            factors[name] = (
                weights[at:middle].view(a).clone(),
                weights[middle:end].view(b).clone(),
            )
            at = end
        return Adapter(factors, self.recipe.rank, self.recipe.alpha, self._engine.base)

    def checkpoint(self) -> bytes:
        """Return the whole state after the last step, as safetensors bytes."""
        return write_checkpoint(self._state, self._id(), self.recipe, self._lessons.names)

    def restore(self, checkpoint: bytes) -> Self:
        """Continue from ``checkpoint``; return this session.

        Raises:
            CheckpointError: it is of another training, or damaged; nothing changed.
        """
        size = self._state.weights.numel()
        self._state, self.recipe = read_checkpoint(checkpoint, self._id(), size)
        return self

    def _id(self) -> TrainingId:
        digest = hashlib.sha256(self._asked.digest().encode() + self._engine.base)
        digest.update(self.domain.encode())
        if self._onto is not None:
            digest.update(self._onto.root())
        for rows in (self._lessons.examples, self._lessons.rehearsed):
            digest.update(len(rows).to_bytes(8, "big"))
            for example in rows:
                digest.update(json.dumps([list(example.tokens), example.marks.hex()]).encode())
        return TrainingId(digest.hexdigest(), self._asked)


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
