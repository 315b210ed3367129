"""Which patches a merge takes, and how much of each: trust says at most, the holdout how much.

A patch may be far better than the base model and a drag on the specialist that serves.
So each is tried where it would act: added to the incumbent and to what was chosen before
it, first at a quarter of what trust allows, then at a half and the whole while that
still helps. What does not help is left out at the cost of one evaluation, and vetoes
nobody else.

Choosing by the rows that judge would find a lift in noise. So each half of the holdout
chooses for itself and is judged by the other half; together these are the gain that is
reported. What may serve is the mean of both choices.

Source: the order of the search is that of greedy soups (Wortsman et al. 2022,
arXiv:2203.05482, recipe 1). Ours: the shares and their caps, and the crossed halves
(Stone 1974, cross-validation).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isnan
from typing import TYPE_CHECKING, Final, TypeAlias

from hivelearn.gate.gain import capped

if TYPE_CHECKING:
    from hivelearn.inference.chat import Example

STEPS: Final = (0.25, 0.5, 1.0)  # of what trust allows
Shares: TypeAlias = Mapping[bytes, float]  # patch -> share of the merge; the incumbent has the rest
# Losses with so much of each patch merged into the incumbent, one a row.
Evaluate: TypeAlias = "Callable[[Shares, Sequence[Example]], list[float]]"
Allow: TypeAlias = Callable[[Collection[bytes]], Shares]  # what trust gives these, were all taken


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what the rows that did not choose it say of it."""

    shares: dict[bytes, float]  # what was left out is absent
    before: list[float]  # losses of the incumbent, one a row
    after: list[float]  # losses with what the other half chose, in the same order


def choose(
    patches: Sequence[bytes], rows: "Sequence[Example]", allow: Allow, evaluate: Evaluate
) -> Choice:
    """Return how much of each patch to merge into the incumbent.

    Args:
        patches: the most promising first.
        rows: the holdout.
        allow: what trust gives to each of some patches, at most.
        evaluate: losses of rows with these shares; without any it is the incumbent.
    """
    halves = rows[0::2], rows[1::2]
    before = [evaluate({}, half) for half in halves]
    chosen = [
        _greedy(patches, half, losses, allow, evaluate)
        for half, losses in zip(halves, before, strict=True)
    ]
    after = [
        evaluate(shares, half) if shares else losses
        for shares, half, losses in zip(reversed(chosen), halves, before, strict=True)
    ]
    taken = sorted(chosen[0].keys() | chosen[1].keys())
    mean = {patch: fsum(shares.get(patch, 0.0) for shares in chosen) / 2 for patch in taken}
    return Choice(mean, [*before[0], *before[1]], [*after[0], *after[1]])


def _greedy(
    patches: Sequence[bytes],
    rows: "Sequence[Example]",
    before: Sequence[float],
    allow: Allow,
    evaluate: Evaluate,
) -> Shares:
    """Return the shares that these rows choose."""
    steps: dict[bytes, float] = {}
    best = 0.0
    for patch in patches:
        for step in STEPS:
            tried = steps | {patch: step}
            gain = _mean_gain(before, evaluate(_shares(tried, allow), rows))
            if gain <= best:
                break
            best, steps = gain, tried
    return _shares(steps, allow)


def _shares(steps: Mapping[bytes, float], allow: Allow) -> Shares:
    allowed = allow(steps.keys())
    return {patch: step * allowed[patch] for patch, step in steps.items() if allowed[patch] > 0}


def _mean_gain(before: Sequence[float], after: Sequence[float]) -> float:
    gains = [
        capped(old) - capped(new)
        for old, new in zip(before, after, strict=True)
        if not isnan(old)  # no answer to judge by
    ]
    return fsum(gains) / len(gains) if gains else 0.0
