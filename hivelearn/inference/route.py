"""Who answered a question, and why."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["base", "routed", "stated", "named"]


@dataclass(frozen=True, slots=True)
class Route:
    """Who answered and why: nobody but the base, the router's choice, or the caller's."""

    experts: tuple[str, ...]  # ids; empty: the base model alone
    mode: Mode
    confidence: float | None  # nats less surprised than the base; None where nothing was compared

    def __str__(self) -> str:
        """Return a short phrase."""
        if not self.experts:
            return "base model"
        sure = "" if self.confidence is None else f", {self.confidence:.2f} nats below the base"
        return f"{'+'.join(e[:8] for e in self.experts)} ({self.mode}{sure})"
