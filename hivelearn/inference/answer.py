"""An answer, who gave it, and the way back for the expert's correction."""

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hivelearn.errors import UsageError

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


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """What the node said to one prompt."""

    text: str
    route: Route
    messages: tuple[Mapping[str, str], ...]
    domain: str | None = None  # as the caller stated it
    _journal: Callable[..., Any] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """Return the text alone."""
        return self.text

    def __repr__(self) -> str:
        """Return the text and who gave it; the conversation is in ``messages``."""
        return f"Answer({self.text!r} by {self.route})"

    def correct(self, right: str, *, domain: str | None = None, subject: str | None = None) -> Any:
        """Journal what the answer should have been; it stays on this device.

        Args:
            right: the right answer, whole.
            domain: what it is about; needed unless ``ask`` stated it.
            subject: whom the correction concerns, for privacy accounting; optional.

        Returns:
            The stored ``Correction``; one prompt in five is held out for judging.

        Raises:
            UsageError: no domain, or a text that cannot be stored.
        """
        where = domain or self.domain
        if where is None:
            raise UsageError(
                "a correction needs a domain",
                remedy='Say what it is about: answer.correct("XIV", domain="roman").',
            )
        if self._journal is None:
            raise UsageError(
                "this answer is not connected to a node",
                remedy="Use node.correct(messages, right, domain=...).",
            )
        return self._journal(self.messages, right, domain=where, subject=subject, wrong=self.text)

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(
            {
                "text": self.text,
                "experts": list(self.route.experts),
                "mode": self.route.mode,
                "confidence": self.route.confidence,
            }
        )

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.text)}</p><small>{html.escape(str(self.route))}</small>"
