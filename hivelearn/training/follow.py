"""What a recipe leaves open follows the model and the corrections; the figures are in ADR 16.

A fixed recipe leaves nothing open. It is a function of the recipe, the model, the number
of corrections and the memory that may be used: the same corrections train the same
adapter on any machine that is as free.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from hivelearn.training.pace import WATCHED_FROM
from hivelearn.training.recipe import Recipe

RATE_TIMES_WIDTH: Final = 0.6
RATE_MAX: Final = 0.01
BATCHES: Final = (4, 16)  # fewest and most corrections a step
CORRECTIONS_PER_ROW: Final = 26  # a step takes about one correction in so many
EPOCHS_MAX: Final = 32  # the nano model still gains after 12; a pretrained one ends after 4
EPOCHS_MAX_UNWATCHED: Final = 10  # a training loss goes on falling: it tells what is known by heart
STEPS_LEAST: Final = 24
MEMORY_BYTES: Final = 160 << 20  # for what a pass keeps; 512 MiB make a step a quarter faster
PASS_TOKENS_LEAST: Final = 64
KEPT_FLOATS: Final = 1.6  # of a token, for each input and output channel of a linear layer


@dataclass(frozen=True, slots=True)
class Given:
    """All that a recipe follows."""

    width: int  # of the model
    shapes: Mapping[str, tuple[int, int]]  # (d_out, d_in) of its linear layers
    corrections: int  # to train on
    memory_bytes: int = MEMORY_BYTES


def fixed(recipe: Recipe, given: Given) -> Recipe:
    """Return ``recipe`` with nothing left open."""
    batch = recipe.batch or batch_for(given.corrections)
    return replace(
        recipe,
        batch=batch,
        steps=recipe.steps or steps_most(given.corrections, batch),
        ends_early=recipe.steps is None if recipe.ends_early is None else recipe.ends_early,
        rate=recipe.rate or min(RATE_TIMES_WIDTH / given.width, RATE_MAX),
        pass_tokens=recipe.pass_tokens
        or max(PASS_TOKENS_LEAST, given.memory_bytes // token_bytes(given.shapes)),
    )


def batch_for(corrections: int) -> int:
    """Return how many corrections a step takes: a power of two, more where there are more."""
    fitting = 1 << round(math.log2(max(1.0, corrections / CORRECTIONS_PER_ROW)))
    return min(max(fitting, BATCHES[0]), BATCHES[1])


def steps_most(corrections: int, batch: int) -> int:
    """Return how many steps a training may make that ends when it gains nothing more."""
    epochs = EPOCHS_MAX_UNWATCHED if corrections < WATCHED_FROM else EPOCHS_MAX
    return max(STEPS_LEAST, math.ceil(epochs * corrections / batch))


def token_bytes(shapes: Mapping[str, tuple[int, int]]) -> int:
    """Return about how many bytes a training pass keeps of one token, in float32.

    What is kept for the way back is mostly the inputs and outputs of linear layers.
    Logits are not: see :mod:`hivelearn.inference.token_loss`.
    """
    channels = sum(d_out + d_in for d_out, d_in in shapes.values())
    return max(1, round(4 * KEPT_FLOATS * channels))
