"""How fast a training learns at each step, and when it has gained all that it will.

A training with a stated number of steps warms up and follows a cosine to its end. One
that may end early stays at its peak rate, because a rate that falls makes every loss
fall and hides that nothing is gained. Every few steps it looks at a loss. When three
looks together are hardly better than the three before them, the rate falls along a line
to its floor, and the training ends there. (Two looks against the best before ended Roman
numerals on the nano model at 128 steps and 55 % exact: single looks are too noisy.)

Where there are enough corrections, what is looked at are some of them that are never
trained on. They are of the training side: those that the node holds out to judge by are
not touched, so that the report's figure stays honest. With fewer, every one is needed to
learn from, and the training loss of an epoch is looked at.

Pure functions of the curve: a training that was interrupted decides as one that was not.
"""

import math
from collections.abc import Sequence
from typing import Final

from hivelearn.training.recipe import Recipe

WATCHED_FROM: Final = 64  # corrections; with fewer none can be spared
WATCHED_ONE_IN: Final = 8
WATCHED_MAX: Final = 32  # a look then costs a tenth of the steps between two
LOOK_EVERY: Final = 8  # steps
PATIENCE: Final = 3  # looks, against as many before
GAINED: Final = 0.9  # of the loss before, or it was hardly a gain
LEARNT: Final = 0.01  # nats per token: there is hardly more to gain
COOLING_LEAST: Final = 4  # steps
_EARLY_WARMUP_OF: Final = 50  # steps that the share of warm-up is of, where the end is unknown


def watched(count: int, recipe: Recipe) -> frozenset[int]:
    """Return which of ``count`` corrections are looked at and never trained on."""
    if not recipe.ends_early or count < WATCHED_FROM:
        return frozenset()
    return frozenset(range(0, count, max(WATCHED_ONE_IN, math.ceil(count / WATCHED_MAX))))


def steps_between_looks(learnt_from: int, batch: int, *, watches: bool) -> int:
    """Return after how many steps there is a look; without watched corrections an epoch."""
    return LOOK_EVERY if watches else max(COOLING_LEAST, math.ceil(learnt_from / batch))


def steps_least(look_every: int, recipe: Recipe) -> int:
    """Return at which step a training ends that gains nothing more after its first looks."""
    assert recipe.steps is not None
    looks = [(look_every * n, 1.0) for n in range(1, 2 * PATIENCE + 1)]
    return min(steps_in_all(looks, recipe), steps_in_all((), recipe))


def cools_from(looks: Sequence[tuple[int, float]], recipe: Recipe) -> int:
    """Return after how many steps the rate begins to fall, as the looks so far have it.

    Args:
        looks: (steps made, loss), in order.
        recipe: a fixed one.
    """
    assert recipe.steps is not None
    for at in range(len(looks)):
        losses = [loss for _, loss in looks[: at + 1]]
        if all_gained(losses):
            return looks[at][0]
    return max(1, min(recipe.steps * 4 // 5, recipe.steps - COOLING_LEAST))


def all_gained(losses: Sequence[float]) -> bool:
    """Return whether the last looks gained too little to go on.

    Args:
        losses: nats per token, oldest first.
    """
    if losses[-1] <= LEARNT:
        return True
    if len(losses) < 2 * PATIENCE:
        return False
    before, last = sum(losses[-2 * PATIENCE : -PATIENCE]), sum(losses[-PATIENCE:])
    return not last < GAINED * before  # NaN gains nothing


def steps_in_all(looks: Sequence[tuple[int, float]], recipe: Recipe) -> int:
    """Return at which step the training ends, as the looks so far have it."""
    assert recipe.steps is not None
    if not recipe.ends_early:
        return recipe.steps
    start = cools_from(looks, recipe)
    return min(recipe.steps, start + max(COOLING_LEAST, start // 4))


def rate_at(step: int, looks: Sequence[tuple[int, float]], recipe: Recipe) -> float:
    """Return the learning rate of step 0, 1, … of a fixed recipe."""
    assert recipe.rate is not None
    assert recipe.steps is not None
    warm = _EARLY_WARMUP_OF if recipe.ends_early else recipe.steps
    rising = max(1, round(recipe.warmup * warm))
    if step < rising:
        return recipe.rate * (step + 1) / rising
    if not recipe.ends_early:
        share = (step - rising) / max(1, recipe.steps - rising)
        falling = 0.5 * (1 + math.cos(math.pi * share))
    else:
        start, end = cools_from(looks, recipe), steps_in_all(looks, recipe)
        falling = 1.0 if step < start else 1 - (step - start + 1) / max(1, end - start)
    return recipe.rate * (recipe.floor + (1 - recipe.floor) * falling)
