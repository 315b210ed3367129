"""Good and bad judgements as Beta counts, and the cautious estimate drawn from them.

An author's reliability is the 5 % quantile of Beta(1 + good, 3 + bad): low for
a stranger, rising with evidence, and falling four times as fast as it rose.
Old evidence fades by 2 % a round, so that nobody lives on a good name alone.

Pure Python, because importing scipy to invert one function would cost more
than everything else in this room.
"""

import math
from dataclasses import dataclass
from typing import Final

from hivelearn.errors import UsageError

DECAY: Final = 0.98  # a round; half of all evidence is younger than 34 rounds
FAILURE_COUNTS: Final = 4.0  # one failure outweighs four successes
PRIOR_GOOD: Final = 1.0
PRIOR_BAD: Final = 3.0  # a stranger is expected to be right one time in four
CAUTION: Final = 0.05  # the quantile taken as reliability

_TINY: Final = 1e-300
_CLOSE: Final = 1e-14  # some roundings of a float; closer might never be reached


@dataclass(frozen=True, slots=True)
class Beta:
    """Evidence about one author: decayed counts of good and bad judgements."""

    good: float = 0.0
    bad: float = 0.0  # a failure already counts FAILURE_COUNTS here

    def __post_init__(self) -> None:
        if not (0 <= self.good < math.inf and 0 <= self.bad < math.inf):
            raise UsageError(
                f"counts {self.good} and {self.bad} are not finite and non-negative",
                remedy="Restore the trust records from before they were edited.",
            )

    def counted(self, successes: int = 0, failures: int = 0) -> "Beta":
        """Return the counts with so many judgements more; no round has passed."""
        return Beta(self.good + successes, self.bad + FAILURE_COUNTS * failures)

    def after_round(self, successes: int = 0, failures: int = 0) -> "Beta":
        """Return the counts after one more round with so many judgements, decay included."""
        return Beta(DECAY * self.good, DECAY * self.bad).counted(successes, failures)

    @property
    def reliability(self) -> float:
        """The 5 % quantile of Beta(1 + good, 3 + bad), in (0, 1)."""
        return quantile(CAUTION, PRIOR_GOOD + self.good, PRIOR_BAD + self.bad)


NO_EVIDENCE: Final = Beta()


def quantile(share: float, a: float, b: float) -> float:
    """Return x with ``cumulative(x, a, b) == share``, to the last bits of a float.

    By halving: slower than Newton's method (about 0.3 ms), and it cannot overshoot.
    """
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        if cumulative(middle, a, b) < share:
            low = middle
        else:
            high = middle


def cumulative(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b).

    Args:
        x: in [0, 1].
        a: > 0.
        b: > 0.

    Source: the continued fraction DLMF 8.17.22, https://dlmf.nist.gov/8.17.E22,
    evaluated by Lentz's method; it converges fast for x < (a + 1) / (a + b + 2),
    and I_x(a, b) = 1 - I_{1-x}(b, a) covers the rest.
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - cumulative(1.0 - x, b, a)
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return math.exp(log_front) / a * _continued_fraction(x, a, b)


def _continued_fraction(x: float, a: float, b: float) -> float:
    """Return 1 / (1 + d_1 / (1 + d_2 / ...)) with the d_n of DLMF 8.17.22."""
    value, c, d = 1.0, 1.0 / _TINY, 1.0
    change, term = 0.0, 0
    while abs(change - 1.0) > _CLOSE:  # about sqrt(max(a, b)) terms
        term += 1
        m = term // 2
        if term % 2:
            coefficient = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            coefficient = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / _away_from_zero(1.0 + coefficient * d)
        c = _away_from_zero(1.0 + coefficient / c)
        change = c * d
        value *= change
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
