"""Conversations to tokens, each token marked as template, the user's words, or the answer.

The prompt is what the model's own chat template renders; the answer is
tokenised apart from it, because that is how the model will meet it: generation
begins after whole prompt tokens. A tokenizer without a chat template gets the
plainest one (``user: …`` lines). Marks, not positions, let one example serve
training (answer 1, user's words .1), judging (answer) and routing (user's words).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from hivelearn.errors import UsageError

Messages: TypeAlias = Sequence[Mapping[str, str]]

TEMPLATE: Final = 0
CONTENT: Final = 1  # tokens of the user's words
ANSWER: Final = 2  # tokens of the answer and of the end of its turn
PARTS: Final[Mapping[str, int]] = {"prompt": CONTENT, "answer": ANSWER}
ROLES: Final = ("system", "user", "assistant")
_MARK: Final = "\ue000"  # of Unicode's private use: stands in no conversation, is not stripped
_SURROGATE: Final = re.compile("[\ud800-\udfff]")  # half a character: no UTF-8, no token
_PLAIN_TEMPLATE: Final = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


class ConversationError(UsageError):
    """These messages are no conversation that a model can answer."""

    remedy = "Give a string, or messages like [{'role': 'user', 'content': 'Hello'}]."


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation as the engine sees it; ``marks[i]`` says what token i is."""

    tokens: tuple[int, ...]
    marks: bytes  # one of TEMPLATE, CONTENT, ANSWER per token

    def count(self, part: str) -> int:
        """Return how many tokens belong to ``part`` ("prompt" or "answer")."""
        return self.marks.count(PARTS[part])


def as_messages(prompt: "str | Messages") -> list[dict[str, str]]:
    """Return ``prompt`` as chat messages, checked.

    Raises:
        ConversationError: empty, or not a list of role and content.
    """
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if isinstance(prompt, Mapping) or not isinstance(prompt, Iterable):
        raise ConversationError(f"a {type(prompt).__name__} is no conversation")
    messages = []
    for message in prompt:
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise ConversationError(f"{str(message)[:80]!r} is not a message")
        role, content = message["role"], message["content"]
        if role not in ROLES or not isinstance(content, str):
            raise ConversationError(f"a message of role {str(role)[:20]!r} without text")
        _check_text(content)
        messages.append({"role": role, "content": content})
    if not messages or messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise ConversationError("the conversation does not end with a user's words")
    return messages


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise ConversationError(f"a {type(text).__name__} where text belongs")
    if half := _SURROGATE.search(text):
        raise ConversationError(f"character U+{ord(half[0]):04X} is no text")


class ChatEncoder:
    """Turns conversations into examples with one tokenizer.

    Args:
        tokenizer: a fast transformers tokenizer.
        end_ids: token ids that end a turn (the generation config's), first preferred.
        context: the longest example the model takes, in tokens; None if it does not say.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int], context: int | None) -> None:
        self.tokenizer = tokenizer
        self._end_ids = tuple(end_ids)
        self._context = context
        self._template = None if tokenizer.chat_template else _PLAIN_TEMPLATE

    def prompt(self, prompt: "str | Messages") -> Example:
        """Return the example of a conversation that waits for its answer.

        Raises:
            ConversationError: no conversation, or longer than the model's context.
        """
        messages = as_messages(prompt)
        text = self._render(messages, generation=True)
        spans = self._spans(messages, text)
        encoded = self.tokenizer(
            text,
            add_special_tokens=self._template is not None,
            return_offsets_mapping=True,
            verbose=False,  # `_checked` says what is too long, with what to do
        )
        marks = bytearray(len(encoded["input_ids"]))
        for index, (start, end) in enumerate(encoded["offset_mapping"]):
            if any(start < high and end > low for low, high in spans):
                marks[index] = CONTENT
        return self._checked(Example(tuple(encoded["input_ids"]), bytes(marks)))

    def pair(self, prompt: "str | Messages", answer: str) -> Example:
        """Return the example of a conversation with its answer, ready to be learnt or judged.

        Raises:
            ConversationError: as for :meth:`prompt`, or the answer is no text.
        """
        _check_text(answer)
        asked = self.prompt(prompt)
        said = self.tokenizer(answer, add_special_tokens=False, verbose=False)["input_ids"]
        tail = self._turn_end(as_messages(prompt))
        tokens = (*asked.tokens, *said, *tail)
        marks = asked.marks + bytes([ANSWER]) * (len(said) + len(tail))
        return self._checked(Example(tokens, marks))

    def text(self, tokens: Sequence[int]) -> str:
        """Return what generated ``tokens`` say, cut at the end of the turn."""
        kept = list(tokens)
        for index, token in enumerate(kept):
            if token in self._end_ids:
                kept = kept[:index]
                break
        decoded: str = self.tokenizer.decode(kept, skip_special_tokens=True)
        return decoded

    def _render(self, messages: list[dict[str, str]], *, generation: bool) -> str:
        try:
            rendered: str = self.tokenizer.apply_chat_template(
                messages,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=generation,
            )
        except Exception as error:  # a template is foreign code and raises what it likes
            raise ConversationError(f"the model's chat template refuses: {error}") from error
        return rendered

    def _spans(self, messages: list[dict[str, str]], text: str) -> list[tuple[int, int]]:
        """Return where the user's words stand in ``text``, the rendered ``messages``.

        They are not searched for: a user who says "user" or "a" would be found in the
        template. The conversation is rendered with marks in their place instead.
        """
        said = [m["content"] for m in messages if m["role"] == "user"]
        marked = [{**m, "content": _MARK} if m["role"] == "user" else m for m in messages]
        frame = self._render(marked, generation=True).split(_MARK)
        for words in (said, [content.strip() for content in said]):  # many templates strip
            if len(frame) == len(words) + 1 and text == _filled(frame, words):
                return _between(frame, words)
        return _found(text, said)

    def _turn_end(self, messages: list[dict[str, str]]) -> list[int]:
        """Return the tokens after an answer, up to and with the one that ends the turn."""
        answered = [*messages, {"role": "assistant", "content": _MARK}]
        _, mark, after = self._render(answered, generation=False).rpartition(_MARK)
        tail = self.tokenizer(after, add_special_tokens=False)["input_ids"] if mark else []
        for index, token in enumerate(tail):
            if token in self._end_ids:
                return list(tail[: index + 1])
        return list(self._end_ids[:1])

    def _checked(self, example: Example) -> Example:
        if self._context is not None and len(example.tokens) > self._context:
            raise ConversationError(
                f"the conversation has {len(example.tokens)} tokens, "
                f"the model takes {self._context}",
                remedy="Shorten it, or open a model with a longer context.",
            )
        return example


def _filled(frame: Sequence[str], words: Sequence[str]) -> str:
    return frame[0] + "".join(w + f for w, f in zip(words, frame[1:], strict=True))


def _between(frame: Sequence[str], words: Sequence[str]) -> list[tuple[int, int]]:
    """Return the span of each of ``words`` between the pieces of ``frame``."""
    spans, at = [], 0
    for before, content in zip(frame, words, strict=False):  # the last piece follows all words
        start = at + len(before)
        at = start + len(content)
        spans.append((start, at))
    return spans


def _found(text: str, contents: Sequence[str]) -> list[tuple[int, int]]:
    """Return where each content stands, searched in order: for a template that rewrites them."""
    spans, at = [], 0
    for content in contents:
        words = content.strip()
        start = text.find(words, at)
        if start >= 0:
            at = start + len(words)
            spans.append((start, at))
    return spans
