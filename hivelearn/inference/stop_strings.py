"""Where an answer ends because a text that the caller named has come. Pure text."""

from collections.abc import Sequence


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Return ``text`` before the stop that was whole first, and whether there was one.

    A stop that began earlier and was not whole yet does not count: one who reads along
    would have stopped by then.
    """
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    return (text[: min(found)[1]], True) if found else (text, False)


def sayable(text: str, stops: Sequence[str]) -> str:
    """Return how much of an unfinished ``text`` is sure to be said.

    An end that may be the beginning of a stop is held back: what was streamed
    cannot be taken back.
    """
    said, stopped = cut(text, stops)
    if stopped:
        return said
    held = max((_overlap(text, stop) for stop in stops), default=0)
    return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of ``text`` that begins ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)
