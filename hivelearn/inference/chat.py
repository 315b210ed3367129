"""Conversations to tokens, each token marked as template, the user's words, or the answer.

The prompt is what the model's own chat template renders; the answer is
tokenised apart from it, because that is how the model will meet it: generation
begins after whole prompt tokens. Marks, not positions, let one example serve
training (answer 1, user's words .1), judging (answer) and routing (user's words).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hivelearn.inference.chat_template import ContextFullError, ConversationError, fitting
from hivelearn.inference.errors import NoModelError
from hivelearn.inference.messages import Messages, as_messages, check_text
from hivelearn.inference.token_spans import contents, encoded, is_fast, opening

TEMPLATE: Final = 0
CONTENT: Final = 1  # tokens of the user's words
ANSWER: Final = 2  # tokens of the answer and of the end of its turn
PARTS: Final[Mapping[str, int]] = {"prompt": CONTENT, "answer": ANSWER}
_MARK: Final = "\ue000"  # of Unicode's private use: stands in no conversation, is not stripped


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation as the engine sees it; ``marks[i]`` says what token i is."""

    tokens: tuple[int, ...]
    marks: bytes  # one of TEMPLATE, CONTENT, ANSWER per token

    def count(self, part: str) -> int:
        """Return how many tokens belong to ``part`` ("prompt" or "answer")."""
        return self.marks.count(PARTS[part])


class VocabularyError(NoModelError):
    """Tokenizer and weights do not belong together."""

    remedy = (
        "Take the tokenizer that the model was trained with; or model.resize_token_embeddings("
        "len(tokenizer)) and save both, then train the new tokens."
    )


class ChatEncoder:
    """Turns conversations into examples with one tokenizer.

    Args:
        tokenizer: a transformers tokenizer, fast or not.
        end_ids: token ids that end a turn, preferred first; the one with which the chat
            template ends an answer is one of them even if the model does not say so.
        context: the longest example the model takes, in tokens; None if it does not say.
        rows: of the model's embedding: no token is beyond them; None if it does not say.

    Raises:
        ChatTemplateError, VocabularyError: no question could be asked with this tokenizer.
    """

    def __init__(
        self,
        tokenizer: Any,
        end_ids: Sequence[int],
        context: int | None,
        rows: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self._context, self._rows = context, rows
        self._template = fitting(tokenizer)
        self._text_ids = None if is_fast(tokenizer) else max(tokenizer.get_vocab().values()) + 1
        self.end_ids = self._all_ends(tuple(end_ids))
        self._check_vocabulary()

    def prompt(self, prompt: "str | Messages") -> Example:
        """Return the example of a conversation that waits for its answer.

        Raises:
            ConversationError: no conversation, or longer than the model's context.
        """
        messages = as_messages(prompt)
        text = self._template.render(messages, generation=True)
        tokens, inside = encoded(self.tokenizer, text, self._spans(messages, text))
        before = opening(self.tokenizer, text, tokens) if self._template.plain else ()
        marks = bytes(len(before)) + bytes(CONTENT if one else TEMPLATE for one in inside)
        return self._checked(Example((*before, *tokens), marks))

    def pair(self, prompt: "str | Messages", answer: str) -> Example:
        """Return the example of a conversation with its answer, ready to be learnt or judged.

        Raises:
            ConversationError: as for :meth:`prompt`, or the answer is no text.
        """
        check_text(answer)
        asked = self.prompt(prompt)
        said = self._plain_tokens(answer)
        tail = self._turn_end(as_messages(prompt))
        tokens = (*asked.tokens, *said, *tail)
        marks = asked.marks + bytes([ANSWER]) * (len(said) + len(tail))
        return self._checked(Example(tokens, marks))

    def text(self, tokens: Sequence[int]) -> str:
        """Return what generated ``tokens`` say, cut at the end of the turn."""
        kept = tokens[: self.turn_length(tokens)]
        if self._text_ids is not None:  # of an embedding with more rows than there are tokens
            kept = [token for token in kept if token < self._text_ids]
        decoded: str = self.tokenizer.decode(list(kept), skip_special_tokens=True)
        return decoded

    def turn_length(self, tokens: Sequence[int]) -> int:
        """Return how many of generated ``tokens`` stand before the one that ends the turn."""
        ends = (index for index, token in enumerate(tokens) if token in self.end_ids)
        return next(ends, len(tokens))

    def _plain_tokens(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return found

    def _spans(self, messages: list[dict[str, str]], text: str) -> list[tuple[int, int]]:
        """Return where the user's words stand in ``text``, the rendered ``messages``."""
        said = [m["content"] for m in messages if m["role"] == "user"]
        framed = [{**m, "content": _MARK} if m["role"] == "user" else m for m in messages]
        frame = self._template.render(framed, generation=True).split(_MARK)
        return contents(text, frame, said)

    def _after_answer(self, messages: list[dict[str, str]]) -> list[int]:
        """Return what the template writes after an answer; nothing if it takes none at the end."""
        answered = [*messages, {"role": "assistant", "content": _MARK}]
        try:
            rendered = self._template.render(answered, generation=False)
        except ConversationError:
            return []
        _, mark, after = rendered.rpartition(_MARK)
        return self._plain_tokens(after) if mark else []

    def _turn_end(self, messages: list[dict[str, str]]) -> list[int]:
        """Return the tokens after an answer, up to and with the one that ends the turn."""
        tail = self._after_answer(messages)
        for index, token in enumerate(tail):
            if token in self.end_ids:
                return tail[: index + 1]
        return list(self.end_ids[:1])

    def _all_ends(self, told: tuple[int, ...]) -> tuple[int, ...]:
        """Add the special token with which the template ends an answer.

        A model tuned on a template of its own often names its ancestor's end of text
        alone; without this its answers would go on into the next turn.
        """
        special = set(getattr(self.tokenizer, "all_special_ids", ()))
        after = self._after_answer([{"role": "user", "content": "a"}])
        found = next((token for token in after if token in special), None)
        if found is None or found in told or (self._rows is not None and found >= self._rows):
            return told
        return (*told, found)

    def _check_vocabulary(self) -> None:
        try:
            tokens = self.prompt("a").tokens
        except ConversationError as error:
            raise VocabularyError(f"no question can be asked: {error.what}") from None
        if not tokens:
            raise VocabularyError("the tokenizer makes no token of a question")

    def _checked(self, example: Example) -> Example:
        if self._context is not None and len(example.tokens) > self._context:
            raise ContextFullError(
                f"the conversation has {len(example.tokens)} tokens, "
                f"the model takes {self._context}",
            )
        beyond = max(example.tokens, default=0)
        if self._rows is not None and beyond >= self._rows:
            name = self.tokenizer.convert_ids_to_tokens(beyond)
            raise ConversationError(
                f"{name!r} is token {beyond}, and the model has only {self._rows}",
                remedy="Leave it out; the model never learned it.",
            )
        return example
