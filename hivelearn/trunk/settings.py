"""How rounds on a shared trunk are played; what is left open follows the node's recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

from hivelearn.bounds import NONE, Rule, check_arguments, check_record, real, whole
from hivelearn.patch.limits import PATCH_RANK_MAX
from hivelearn.training.recipe import Recipe

RULES: Final[Mapping[str, Rule]] = {
    "steps": whole(1),
    "batch": whole(1),
    "rank": NONE | whole(1, PATCH_RANK_MAX),
    "momentum": real(0, 1, below=True),
    "patience_s": real(0),
}


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """How rounds are played. Change one with ``hl.Node(..., rounds=hl.RoundSettings(...))``.

    Attributes:
        steps: of training onto the trunk, in each round.
        batch: corrections a step; with fewer a part says more of its few than of the subject.
        rank: of the trunk; None takes the recipe's.
        momentum: how much of the last step of the trunk is made again.
        patience_s: how long a part waits for those of others who took part in the round before.
    """

    steps: int = 20
    batch: int = 16
    rank: int | None = None
    momentum: float = 0.3
    patience_s: float = 600.0

    def __new__(cls, *positional: object, **named: object) -> Self:
        """Refuse names that rounds do not have."""
        check_arguments(RULES, positional, named, what="a round")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        check_record(RULES, self, what="these rounds cannot be played")

    def recipe(self, usual: Recipe, height: int) -> Recipe:
        """Return how a part is trained onto the trunk of ``height``: ``usual``, but short.

        Each round goes through the corrections in an order of its own.
        """
        return replace(
            usual,
            steps=self.steps,
            batch=self.batch,
            rank=self.rank or usual.rank,
            ends_early=False,
            seed=usual.seed + height,
        )
