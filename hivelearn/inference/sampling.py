"""How tokens are chosen, and where an answer ends before the model ends it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hivelearn.bounds import Rule, check_record, many, real, whole

STOPS_MAX: Final = 16  # every one is looked for after each token
STOP_MAX_CHARS: Final = 256


def _stop(given: object) -> bool:
    return isinstance(given, str) and 0 < len(given) <= STOP_MAX_CHARS


SAMPLING: Final[Mapping[str, Rule]] = {
    "max_new_tokens": whole(1, 1 << 20),
    # Logits are divided by it, in float32: far below they overflow, far above nothing is left.
    "temperature": Rule("0", real(0, 0).holds) | real(1e-3, 1e3),
    "top_p": real(0, 1, above=True),
    "top_k": whole(0, 1 << 31),
    "stop": many(
        Rule("text", _stop),
        f"text, or a list of at most {STOPS_MAX}, each of 1 to {STOP_MAX_CHARS} characters",
        most=STOPS_MAX,
    ),
    "seed": whole(0),
}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens. Temperature 0 is greedy and needs no seed.

    Attributes:
        max_new_tokens: an answer has at most so many.
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_p: chance falls on the likeliest tokens that have this share together.
        top_k: and on so many of them at most; 0 is all.
        stop: texts before which an answer ends; a single one may be given as text.
        seed: of chance.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no sampler can do."""
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        check_record(SAMPLING, self, what="sampling so is impossible")
        # transformers takes 2.0 and refuses 2.
        object.__setattr__(self, "temperature", float(self.temperature))
        object.__setattr__(self, "stop", tuple(self.stop))
