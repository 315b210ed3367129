"""How a LoRA is trained: one frozen record, hashable, the same on every machine.

What is None follows the model and the corrections (:mod:`hivelearn.training.follow`):
how many steps, how many corrections each of them takes, how fast it learns.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Self

from hivelearn.bounds import (
    FLAG,
    NONE,
    WHOLE_MAX,
    Rule,
    check_arguments,
    check_record,
    many,
    real,
    whole,
)
from hivelearn.errors import UsageError
from hivelearn.patch.limits import ALPHA_MAX, ALPHA_MIN, PATCH_RANK_MAX

STEPS_MAX: Final = 1_000_000
_SHARE: Final = real(0, 1)
_BELOW_ONE: Final = real(0, 1, below=True)
_POSITIVE: Final = real(0, above=True)
_NAME: Final = Rule("a name", lambda given: isinstance(given, str) and given != "")

RULES: Final[Mapping[str, Rule]] = {
    "rank": whole(1, PATCH_RANK_MAX),
    "alpha": real(ALPHA_MIN, ALPHA_MAX),
    "targets": _NAME | many(_NAME, "a list of names", least=1),
    "steps": NONE | whole(1, STEPS_MAX),
    "batch": NONE | whole(1),
    "pass_tokens": NONE | whole(1),
    "rate": NONE | real(0, 1, above=True, below=True),
    "warmup": _BELOW_ONE,
    "floor": _SHARE,
    "beta1": _BELOW_ONE,
    "beta2": _BELOW_ONE,
    "eps": _POSITIVE,
    "weight_decay": real(0),
    "clip": _POSITIVE,
    "prompt_weight": _SHARE,
    "rehearsal": real(0),
    "ends_early": NONE | FLAG,
    "freeze_a": FLAG,
    "seed": whole(-WHOLE_MAX),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of one training.

    Attributes:
        rank: of the LoRA, 1 … 64.
        alpha: the delta is ``alpha / rank · B · A``.
        targets: last parts of module names, or "all-linear" (without the head).
        steps: optimizer steps; None goes on until the corrections that are watched gain
            nothing more, see ``ends_early``.
        batch: corrections a step; None follows how many there are.
        pass_tokens: padded tokens in one forward pass; None takes what the memory allows.
            It changes the gradient by no more than rounding.
        rate: peak learning rate; None follows the model's width.
        warmup: share of the steps in which the rate rises linearly.
        floor: share of the peak rate that it ends at.
        beta1, beta2, eps, weight_decay: of AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).
        clip: largest L2 norm of the whole gradient.
        prompt_weight: weight of the user's words where an answer token weighs 1;
            without it prompt loss does not tell domains apart (0 against .1: at
            random against 180 of 180).
        rehearsal: weight of what the base model itself answers to everyday questions, where
            the loss of the corrections weighs 1. It keeps a specialist from forgetting how to
            talk; 0 leaves it out.
        ends_early: the rate stays at its peak until nothing more is gained, then falls;
            ``steps`` is the most. None: where no steps are stated.
        freeze_a: keep A as it started (FFA-LoRA, arXiv:2403.12313).
        seed: of the order of corrections.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: str | tuple[str, ...] = "all-linear"
    steps: int | None = None
    batch: int | None = None
    pass_tokens: int | None = None
    rate: float | None = None
    warmup: float = 0.08
    floor: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    prompt_weight: float = 0.1
    rehearsal: float = 0.5
    ends_early: bool | None = None
    freeze_a: bool = False
    seed: int = 0

    def __new__(cls, *positional: object, **named: object) -> Self:
        """Refuse names that a recipe does not have, as all that is wrong with one is refused."""
        check_arguments(RULES, positional, named, what="a recipe")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        if isinstance(self.targets, list):  # it would not be hashable
            object.__setattr__(self, "targets", tuple(self.targets))
        check_record(RULES, self, what="this recipe cannot train")

    def digest(self) -> str:
        """Return a hash that differs whenever two recipes train differently."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def match_targets(targets: str | Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the modules among ``names`` that ``targets`` means.

    Raises:
        UsageError: none of them.
    """
    if targets == "all-linear":
        return list(names)
    wanted = {targets} if isinstance(targets, str) else set(targets)
    found = [name for name in names if name.rsplit(".", 1)[-1] in wanted]
    if not found:
        raise UsageError(
            f"the model has no linear module named {' or '.join(sorted(wanted))}",
            remedy=f"It has: {', '.join(sorted({n.rsplit('.', 1)[-1] for n in names}))}.",
        )
    return found
