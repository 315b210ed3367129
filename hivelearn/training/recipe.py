"""How a LoRA is trained: one frozen record, hashable, the same on every machine.

The learning rate follows the model's width unless it is stated: a rate that
suits 160 channels burns 1,536.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Self

from hivelearn.bounds import FLAG, NONE, WHOLE_MAX, Rule, check_record, many, real, whole
from hivelearn.errors import UsageError
from hivelearn.patch.limits import ALPHA_MAX, ALPHA_MIN, PATCH_RANK_MAX

RATE_TIMES_WIDTH: Final = 1.5  # measured on the nano model; see docs/LOG.md
STEPS_MAX: Final = 1_000_000
_SHARE: Final = real(0, 1)
_BELOW_ONE: Final = real(0, 1, below=True)
_POSITIVE: Final = real(0, above=True)
_NAME: Final = Rule("a name", lambda given: isinstance(given, str) and given != "")

RULES: Final[Mapping[str, Rule]] = {
    "rank": whole(1, PATCH_RANK_MAX),
    "alpha": real(ALPHA_MIN, ALPHA_MAX),
    "targets": _NAME | many(_NAME, "a list of names", least=1),
    "steps": whole(1, STEPS_MAX),
    "batch": whole(1),
    "microbatch": whole(1),
    "rate": NONE | real(0, 1, above=True, below=True),
    "warmup": _BELOW_ONE,
    "floor": _SHARE,
    "beta1": _BELOW_ONE,
    "beta2": _BELOW_ONE,
    "eps": _POSITIVE,
    "weight_decay": real(0),
    "clip": _POSITIVE,
    "prompt_weight": _SHARE,
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
        steps: optimizer steps.
        batch: corrections a step.
        microbatch: corrections in one forward pass.
        rate: peak learning rate; None takes ``1.5 / width``, at most 0.01.
        warmup: share of the steps in which the rate rises linearly.
        floor: share of the peak rate that the cosine ends at.
        beta1, beta2, eps, weight_decay: of AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).
        clip: largest L2 norm of the whole gradient.
        prompt_weight: weight of the user's words where an answer token weighs 1;
            without it prompt loss does not tell domains apart (0 against .1: at
            random against 180 of 180).
        freeze_a: keep A as it started (FFA-LoRA, arXiv:2403.12313).
        seed: of the order of corrections.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: str | tuple[str, ...] = "all-linear"
    steps: int = 240
    batch: int = 32
    microbatch: int = 32
    rate: float | None = None
    warmup: float = 0.08
    floor: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    prompt_weight: float = 0.1
    freeze_a: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        if isinstance(self.targets, list):  # it would not be hashable
            object.__setattr__(self, "targets", tuple(self.targets))
        check_record(RULES, self, what="this recipe cannot train")

    def for_width(self, width: int) -> Self:
        """Return this recipe with its learning rate fixed for a model of ``width`` channels."""
        if self.rate is not None:
            return self
        return replace(self, rate=min(RATE_TIMES_WIDTH / width, 0.01))

    def rate_at(self, step: int) -> float:
        """Return the learning rate of step 0, 1, …: linear warmup, then cosine to the floor."""
        peak = self.rate if self.rate is not None else 0.001
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return peak * (step + 1) / rising
        share = (step - rising) / max(1, self.steps - rising)
        return peak * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share)))

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
