"""What comes of one generation: the text, why it ended, and how many tokens it took."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

FinishReason: TypeAlias = Literal["stop", "length", "stop_string", "cancelled"]


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer as an engine gives it."""

    text: str
    finish_reason: FinishReason = "stop"
    prompt_tokens: int = 0
    answer_tokens: int = 0  # without the one that ends a turn


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Listener:
    """Who follows a generation while it goes on."""

    on_text: Callable[[str], None] | None = None  # hears the pieces, if there is one example
    cancelled: Callable[[], bool] = _never  # asked after every token; True ends the generation
