"""AdamW as a pure function: from one state and a gradient to the next state.

A state is three flat vectors, two counts and the losses so far. Nothing is changed in place,
so that whoever is interrupted in the middle still holds the state before.
"""

import math
from dataclasses import dataclass, field

from torch import Tensor

from hivelearn.errors import UsageError
from hivelearn.training.curve import Curve
from hivelearn.training.recipe import Recipe


class DivergedError(UsageError):
    """The gradient is no number any more; the state before it stands."""

    remedy = "Train with a lower rate: hl.Recipe(rate=...); nothing was changed."


@dataclass(frozen=True, slots=True)
class TrainingState:
    """All that a step changes; the vectors are never written to."""

    weights: Tensor  # (n,) float32: A and B of every module, one after another
    mean: Tensor  # (n,) AdamW's first moment
    square: Tensor  # (n,) its second
    done: int = 0
    tokens: int = 0
    curve: Curve = field(default_factory=Curve)


def adamw(
    last: TrainingState, gradient: Tensor, rate: float, recipe: Recipe, trained: Tensor | None
) -> TrainingState:
    """Return the state after one step: AdamW with decoupled decay, float32.

    Tokens and curve stay as they were: whoever knows them adds them.

    Args:
        last: the state before.
        gradient: (n,), cut here to the recipe's norm.
        rate: of this step.
        recipe: the other settings.
        trained: (n,) 1 where weights may change, 0 where not; None trains all.

    Raises:
        DivergedError: the gradient is not finite.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101, Algorithm 2.
    """
    r = recipe
    if trained is not None:
        gradient = gradient * trained
    norm = float(gradient.norm())
    if not math.isfinite(norm):
        raise DivergedError(f"step {last.done} has a gradient of norm {norm}")
    if norm > r.clip:
        gradient = gradient * (r.clip / norm)
    seen = last.done + 1
    mean = last.mean.lerp(gradient, 1 - r.beta1)
    square = (last.square * r.beta2).addcmul_(gradient, gradient, value=1 - r.beta2)
    root = (square / (1 - r.beta2**seen)).sqrt_().add_(r.eps)
    weights = last.weights
    if r.weight_decay:
        lost = weights * (rate * r.weight_decay)
        weights = weights - (lost if trained is None else lost * trained)
    weights = weights.addcdiv(mean, root, value=-rate / (1 - r.beta1**seen))
    return TrainingState(weights, mean, square, seen, last.tokens, last.curve)
