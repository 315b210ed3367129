"""How much better, and how sure: paired losses to an interval.

Gain is loss before minus loss after, in nats per answer token, prompt by prompt
over the same holdout; pairing takes out that some prompts are hard for everybody.
The interval is a percentile bootstrap, because twenty differences are neither
many nor normal. Below ``n_min`` pairs there is no figure at all, only a reason.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from hivelearn.errors import UsageError

LOSS_CAP: Final = 100.0  # nats per token; a uniform guess among a million tokens is 14
N_MIN: Final = 20
RESAMPLES: Final = 2_000
_TAIL: Final = RESAMPLES // 40  # 2.5 % on either side: a 95 % interval


class EvidenceError(UsageError):
    """Losses that do not belong together."""

    remedy = "Measure before and after on the same examples, in the same order."


@dataclass(frozen=True, slots=True)
class Gain:
    """Mean gain in nats per answer token, with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int  # prompts it was measured on

    def __str__(self) -> str:
        """Tell mean, interval and evidence: ``+0.031 nats [0.020, 0.042] n=60``."""
        return f"{self.mean:+.3f} nats [{self.low:.3f}, {self.high:.3f}] n={self.n}"


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """No figure, and why there is none."""

    why: str = "unmeasured here"

    def __str__(self) -> str:
        """Return the reason."""
        return self.why


Measure: TypeAlias = Gain | Unmeasured


def capped(loss: float) -> float:
    """Return ``loss`` within [0, 100]; NaN counts as 100."""
    return max(0.0, min(LOSS_CAP, loss))  # in this order: min(NaN, 100) would be NaN


def too_few(n: int) -> Unmeasured:
    """Return what stands in the place of a gain over ``n`` prompts."""
    return Unmeasured(f"too little evidence, n={n}" if n else "unmeasured here")


def paired_gain(before: Sequence[float], after: Sequence[float], *, seed: int) -> Measure:
    """Return the gain from ``before`` to ``after`` with its bootstrap interval.

    A prompt whose loss before is NaN has no answer to judge and is left out. A loss
    after that is NaN, or beyond 100, counts as 100: an adapter that breaks the
    model must not leave the comparison by doing so.

    Args:
        before: mean nats per answer token, one a prompt, as served now.
        after: the same prompts in the same order, with the candidate.
        seed: of the resampling; equal seeds and losses give equal intervals.

    Returns:
        The gain, or Unmeasured below 20 prompts.

    Raises:
        EvidenceError: the two are of different length.

    Source: Efron and Tibshirani 1993, chapter 13 (percentile interval, 2,000 resamples).
    """
    if len(before) != len(after):
        raise EvidenceError(f"{len(before)} losses before, {len(after)} after")
    gains = [
        capped(old) - capped(new)
        for old, new in zip(before, after, strict=True)
        if not math.isnan(old)
    ]
    n = len(gains)
    if n < N_MIN:
        return too_few(n)
    chance = random.Random(seed)
    means = sorted(math.fsum(chance.choices(gains, k=n)) / n for _ in range(RESAMPLES))
    return Gain(math.fsum(gains) / n, means[_TAIL], means[-1 - _TAIL], n)
