"""An answer, who gave it, why it ended, and the way back for the expert's correction."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hivelearn.errors import UsageError
from hivelearn.inference.completion import FinishReason
from hivelearn.inference.route import Route
from hivelearn.store.correction import Correction


class Journal(Protocol):
    """Stores what the right answer to a conversation was."""

    def __call__(
        self,
        messages: Sequence[Mapping[str, str]],
        right: str,
        *,
        domain: str,
        subject: str | None,
        wrong: str | None,
    ) -> Correction:
        """Return what was stored."""


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """What the node said to one prompt.

    Attributes:
        text: what was said.
        route: by whom.
        messages: the conversation that it answers.
        domain: as the caller stated it.
        finish_reason: "stop" (it ended its turn), "length" (``max_new_tokens`` or the model's
            context ended it), "stop_string" (one of ``stop`` came) or "cancelled".
        prompt_tokens: of the conversation as the model read it, template included.
        answer_tokens: that were generated, without the one that ends a turn.
    """

    text: str
    route: Route
    messages: tuple[Mapping[str, str], ...]
    domain: str | None = None
    finish_reason: FinishReason = "stop"
    prompt_tokens: int = 0
    answer_tokens: int = 0
    _journal: Journal | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """Return the text alone."""
        return self.text

    def __repr__(self) -> str:
        """Return the text and who gave it; the conversation is in ``messages``."""
        return f"Answer({self.text!r} by {self.route})"

    def correct(
        self, right: str, *, domain: str | None = None, subject: str | None = None
    ) -> Correction:
        """Journal what the answer should have been; it stays on this device.

        Args:
            right: the right answer, whole.
            domain: what it is about; needed unless ``ask`` stated it.
            subject: whom the correction concerns, for privacy accounting; optional.

        Returns:
            The stored correction; one prompt in five is held out for judging.

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
                "finish_reason": self.finish_reason,
                "prompt_tokens": self.prompt_tokens,
                "answer_tokens": self.answer_tokens,
            }
        )

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.text)}</p><small>{html.escape(str(self.route))}</small>"
