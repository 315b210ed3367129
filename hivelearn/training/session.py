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
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final, Self

import safetensors.torch
import torch
from torch import Tensor

from hivelearn.errors import UsageError
from hivelearn.inference.chat import Example
from hivelearn.inference.engine import Engine, require
from hivelearn.patch.adapter import Adapter
from hivelearn.training.init_lora import initial_factors
from hivelearn.training.recipe import Recipe, match_targets

_FORMAT: Final = "1"


class CheckpointError(UsageError):
    """A checkpoint belongs to another training or is damaged."""

    remedy = "Start the training anew: the corrections are all still there."


class DivergedError(UsageError):
    """The gradient is no number any more; the state before it stands."""

    remedy = "Train with a lower rate: hl.Recipe(rate=...); nothing was changed."


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimizer step did."""

    index: int  # 0 …
    of: int
    loss: float  # weighted mean, nats per token
    rate: float
    tokens: int


@dataclass(frozen=True, slots=True)
class _State:
    """All that a step changes; the vectors are never written to."""

    weights: Tensor  # (n,) float32: A and B of every module, one after another
    mean: Tensor  # (n,) AdamW's first moment
    square: Tensor  # (n,) its second
    done: int = 0
    tokens: int = 0


class TrainingSession:
    """Trains one LoRA on ``examples``; iterate over it to make steps.

    Args:
        engine: the model, through the Engine protocol alone.
        examples: corrections as examples, in an order that does not depend on chance.
        recipe: how; its rate is fixed for the model's width here.
        domain: keys the shared A.
        names: what the caller calls each example. A checkpoint carries them, so that the
            caller can bring the same examples again (:func:`names_in`) when others have come.

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
        self._state = _State(weights, torch.zeros_like(weights), torch.zeros_like(weights))
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
        self._state = self._after(gradient, got.tokens)
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

    def _after(self, gradient: Tensor, tokens: int) -> _State:
        """AdamW with decoupled decay (arXiv:1711.05101, Algorithm 2), float32."""
        r, last = self.recipe, self._state
        if self._trained is not None:
            gradient = gradient * self._trained
        norm = float(gradient.norm())
        if not math.isfinite(norm):
            raise DivergedError(f"{self._domain}: step {last.done} has a gradient of norm {norm}")
        if norm > r.clip:
            gradient = gradient * (r.clip / norm)
        rate, seen = r.rate_at(last.done), last.done + 1
        mean = last.mean.lerp(gradient, 1 - r.beta1)
        square = (last.square * r.beta2).addcmul_(gradient, gradient, value=1 - r.beta2)
        root = (square / (1 - r.beta2**seen)).sqrt_().add_(r.eps)
        weights = last.weights
        if r.weight_decay:
            lost = weights * (rate * r.weight_decay)
            weights = weights - (lost if self._trained is None else lost * self._trained)
        weights = weights.addcdiv(mean, root, value=-rate / (1 - r.beta1**seen))
        return _State(weights, mean, square, seen, last.tokens + tokens)

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

    def identity(self) -> str:
        """Return a hash of everything that the result depends on, but the step."""
        digest = hashlib.sha256(self.recipe.digest().encode() + self._engine.base)
        digest.update(self._domain.encode())
        for example in self._examples:
            digest.update(json.dumps([list(example.tokens), example.marks.hex()]).encode())
        return digest.hexdigest()

    def checkpoint(self) -> bytes:
        """Return the whole state after the last step, as safetensors bytes."""
        now = self._state
        tensors = {"weights": now.weights, "mean": now.mean, "square": now.square}
        recipe = asdict(self.recipe)
        about = [_FORMAT, self.identity(), now.done, now.tokens, recipe, self._names]
        return safetensors.torch.save(tensors, metadata={"session": json.dumps(about)})

    def restore(self, checkpoint: bytes) -> Self:
        """Continue from ``checkpoint``; return this session.

        Raises:
            CheckpointError: it is of another training, or damaged; nothing changed.
        """
        about, tensors = _parts(checkpoint)
        try:
            weights, mean, square = (tensors[name] for name in ("weights", "mean", "square"))
            version, identity, done, tokens, recipe, _names = about
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint is damaged: {error}") from error
        if version != _FORMAT or identity != self.identity():
            raise CheckpointError(self._difference(recipe))
        shape = self._state.weights.shape
        whole = all(v.shape == shape and v.dtype == torch.float32 for v in (weights, mean, square))
        counted = type(done) is int and type(tokens) is int and 0 <= done <= self.recipe.steps
        if not (whole and counted):
            raise CheckpointError("the checkpoint's vectors or counts are out of range")
        self._state = _State(weights, mean, square, done, tokens)
        return self

    def _difference(self, recipe: object) -> str:
        """Say why a checkpoint is not of this training."""
        old = recipe if isinstance(recipe, dict) else {}
        new = json.loads(json.dumps(asdict(self.recipe)))  # as JSON has it: tuples are lists
        changed = [f"{k} {old[k]} → {new[k]}" for k in new if k in old and old[k] != new[k]]
        if changed:
            return f"the recipe has changed: {', '.join(changed)}"
        return "the checkpoint is of other corrections or another model"


def nothing_to_learn(domain: str) -> UsageError:
    """Return the error of a training without corrections."""
    return UsageError(
        f"there are no corrections to train on in {domain!r}",
        remedy="Correct some answers first: `hivelearn correct`, answer.correct(...), "
        "or node.corrections.import_jsonl(path). One question in five is held out for judging.",
    )


def names_in(checkpoint: bytes) -> tuple[str, ...]:
    """Return what the session that wrote ``checkpoint`` was told to call its examples.

    Raises:
        CheckpointError: it is damaged.
    """
    about, _ = _parts(checkpoint)
    names = about[-1] if isinstance(about, list) and about else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError("the checkpoint is damaged: it does not name its examples")
    return tuple(names)


def _parts(checkpoint: bytes) -> tuple[Any, Mapping[str, Tensor]]:
    try:
        size = int.from_bytes(checkpoint[:8], "little")
        table = json.loads(checkpoint[8 : 8 + size])
        return json.loads(table["__metadata__"]["session"]), safetensors.torch.load(checkpoint)
    except Exception as error:  # a cut file fails in many ways, all meaning the same
        raise CheckpointError(f"the checkpoint is damaged: {error}") from error


def _flat(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for pair in pairs for t in pair])


@lru_cache(maxsize=4)
def _shuffled(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return tuple(order)
