"""The state of a training as safetensors bytes, and back; what is damaged is refused.

The metadata says which training it is of (a hash of all that the result depends
on), how its recipe was fixed when it began, how far it came, and what the caller calls its
examples. What the memory of that day allowed holds to the end: a training is one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import safetensors.torch
import torch
from torch import Tensor

from hivelearn.errors import UsageError
from hivelearn.training.curve import Curve
from hivelearn.training.optimizer import TrainingState
from hivelearn.training.recipe import Recipe

_FORMAT: Final = "2"


class CheckpointError(UsageError):
    """A checkpoint belongs to another training or is damaged."""

    remedy = "Start the training anew: the corrections are all still there."


@dataclass(frozen=True, slots=True)
class TrainingId:
    """Which training a checkpoint is of."""

    digest: str  # of everything that the result depends on, but the step
    asked: Recipe  # as it was given, to say what has changed


def write_checkpoint(
    state: TrainingState, training: TrainingId, fixed: Recipe, names: Sequence[str]
) -> bytes:
    """Return ``state`` as bytes; ``names`` is what the caller calls the examples."""
    tensors = {"weights": state.weights, "mean": state.mean, "square": state.square}
    recipes, curve = [asdict(training.asked), asdict(fixed)], asdict(state.curve)
    about = [_FORMAT, training.digest, state.done, state.tokens, recipes, curve, names]
    return safetensors.torch.save(tensors, metadata={"session": json.dumps(about)})


def read_checkpoint(
    checkpoint: bytes, training: TrainingId, size: int
) -> tuple[TrainingState, Recipe]:
    """Return the state in ``checkpoint``, and the recipe as it was fixed.

    Args:
        checkpoint: of :func:`write_checkpoint`.
        training: that it must be of.
        size: how many weights are trained.

    Raises:
        CheckpointError: it is of another training, or damaged.
    """
    about, tensors = _parts(checkpoint)
    try:
        weights, mean, square = (tensors[name] for name in ("weights", "mean", "square"))
        version, digest, done, tokens, (asked, plain), curve, _names = about
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint is damaged: {error}") from error
    if version != _FORMAT or digest != training.digest:
        raise CheckpointError(_difference(asked, training.asked))
    vectors = (weights, mean, square)
    whole = all(v.shape == (size,) and v.dtype == torch.float32 for v in vectors)
    if not (whole and type(done) is int and type(tokens) is int and done >= 0):
        raise CheckpointError("the checkpoint's vectors or counts are out of range")
    try:
        fixed, told = Recipe(**plain), Curve.from_plain(curve, done)
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise CheckpointError(f"the checkpoint is damaged: {error}") from error
    if fixed.steps is None or done > fixed.steps:
        raise CheckpointError("the checkpoint's counts are out of range")
    return TrainingState(weights, mean, square, done, tokens, told), fixed


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


def _difference(recipe: object, mine: Recipe) -> str:
    """Say why a checkpoint is not of this training."""
    old = recipe if isinstance(recipe, dict) else {}
    new = json.loads(json.dumps(asdict(mine)))  # as JSON has it: tuples are lists
    changed = [f"{k} {old[k]} → {new[k]}" for k in new if k in old and old[k] != new[k]]
    if changed:
        return f"the recipe has changed: {', '.join(changed)}"
    return "the checkpoint is of other corrections or another model"


def _parts(checkpoint: bytes) -> tuple[Any, Mapping[str, Tensor]]:
    try:
        size = int.from_bytes(checkpoint[:8], "little")
        table = json.loads(checkpoint[8 : 8 + size])
        return json.loads(table["__metadata__"]["session"]), safetensors.torch.load(checkpoint)
    except Exception as error:  # a cut file fails in many ways, all meaning the same
        raise CheckpointError(f"the checkpoint is damaged: {error}") from error
