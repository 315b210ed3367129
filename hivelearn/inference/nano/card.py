"""The nano model's card, filled with the facts of one training run."""

from __future__ import annotations

from typing import Any

SYSTEM_LINES = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You answer with the result alone.",
)


def text(facts: dict[str, Any]) -> str:
    """Return the card as Markdown."""
    return f"steps {facts['steps']}\n"
