"""Where words stand in a rendered conversation: in its text, and among its tokens.

Fast tokenizers tell where in the text each token comes from. One written in plain
Python does not: there the tokens before a place are counted by encoding the text up
to it, which is exact for bytes and characters and at most a token off at the edges
of words elsewhere.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

Span: TypeAlias = tuple[int, int]


def encoded(tokenizer: Any, text: str, spans: Sequence[Span]) -> tuple[list[int], list[bool]]:
    """Return the tokens of ``text``, without special ones, and which of them touch ``spans``."""
    quiet = {"add_special_tokens": False, "verbose": False}  # the caller says what is too long
    if not is_fast(tokenizer):
        tokens = tokenizer(text, **quiet)["input_ids"]
        places = [
            tuple(len(tokenizer(text[:at], **quiet)["input_ids"]) for at in span) for span in spans
        ]
        return tokens, [any(low <= i < high for low, high in places) for i in range(len(tokens))]
    found = tokenizer(text, return_offsets_mapping=True, **quiet)
    inside = [
        any(start < high and end > low for low, high in spans)
        for start, end in found["offset_mapping"]
    ]
    return found["input_ids"], inside


def opening(tokenizer: Any, text: str, tokens: Sequence[int]) -> tuple[int, ...]:
    """Return the special tokens that the tokenizer itself puts before ``text``.

    Those that it puts after are left out: an end of text between a question and its
    answer tells the model that nothing follows.
    """
    whole = tokenizer(text, verbose=False)["input_ids"]
    length = len(tokens)
    for at in range(len(whole) - length + 1):
        if list(whole[at : at + length]) == list(tokens):
            return tuple(whole[:at])
    return ()


def is_fast(tokenizer: Any) -> bool:
    """Return whether the tokenizer knows where in a text its tokens come from."""
    return bool(getattr(tokenizer, "is_fast", False))


def contents(text: str, frame: Sequence[str], said: Sequence[str]) -> list[Span]:
    """Return where each of ``said`` stands in ``text``.

    They are not searched for: a user who says "user" or "a" would be found in the
    template.

    Args:
        text: the rendered conversation.
        frame: the pieces between the user's words, from a rendering with marks in their place.
        said: the user's words, in order.
    """
    for words in (said, [content.strip() for content in said]):  # many templates strip
        if len(frame) == len(words) + 1 and text == _filled(frame, words):
            return _between(frame, words)
    return _found(text, said)


def _filled(frame: Sequence[str], words: Sequence[str]) -> str:
    return frame[0] + "".join(w + f for w, f in zip(words, frame[1:], strict=True))


def _between(frame: Sequence[str], words: Sequence[str]) -> list[Span]:
    """Return the span of each of ``words`` between the pieces of ``frame``."""
    spans, at = [], 0
    for before, content in zip(frame, words, strict=False):  # the last piece follows all words
        start = at + len(before)
        at = start + len(content)
        spans.append((start, at))
    return spans


def _found(text: str, said: Sequence[str]) -> list[Span]:
    """Return where each content stands, searched in order: for a template that rewrites them."""
    spans, at = [], 0
    for content in said:
        words = content.strip()
        start = text.find(words, at)
        if start >= 0:
            at = start + len(words)
            spans.append((start, at))
    return spans
