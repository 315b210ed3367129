"""What an expert said: a conversation, the wrong answer, the right one.

A correction cannot exist malformed. Which side of the holdout it stands on
follows from its normalised question alone, so the same question, however
spelled, never stands on both sides: not in two domains, not on two nodes.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast, get_args

from hivelearn import codec
from hivelearn.store.errors import (
    BinaryTextError,
    CorrectionError,
    CorrectionTooLargeError,
    DomainNameError,
    EmptyCorrectionError,
    MalformedMessagesError,
)

Role = Literal["system", "user", "assistant"]

DOMAIN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
TEXT_MAX_BYTES: Final = 64 * 1024  # all text of one correction together, UTF-8
SUBJECT_MAX_BYTES: Final = 256
MESSAGES_MAX: Final = 64
BASE_BYTES: Final = 32
TIME_MAX_S: Final = 1e11  # the year 5138
HOLDOUT_ONE_IN: Final = 5
_NOT_TEXT: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Correction:
    """One judgement by the person who knows; see ``docs`` of each limit above."""

    messages: tuple[Message, ...]  # ends with the user's question
    right: str
    domain: str
    base: bytes = field(repr=False)  # fingerprint of the model that answered, 32 bytes
    created_s: float
    wrong: str | None = None  # None: not known
    subject: str | None = None
    generation: int | None = None  # that answered; None: the base model
    id: str = field(init=False)  # 64 hex digits, of what is said, about what and about whom
    prompt: bytes = field(init=False, repr=False)  # hash of the normalised question, 32 bytes
    holdout: bool = field(init=False)  # kept for judging, never trained on

    def __post_init__(self) -> None:
        _check_messages(self.messages)
        said = [message.content for message in self.messages]
        # None alone is "not known": an empty list is no text either, and no row could hold it.
        known = [text for text in (self.wrong, self.subject) if text is not None]
        _check_text([*said, self.right, *known])
        _check_rest(self)
        prompt = prompt_hash(self.messages)
        object.__setattr__(self, "prompt", prompt)
        object.__setattr__(self, "holdout", is_holdout(prompt))
        object.__setattr__(self, "id", _content_id(self))


def to_conversation(question: str | Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Return the conversation that a caller gave as text or as chat messages.

    Raises:
        MalformedMessagesError: a turn is not exactly a role and a content of text.
    """
    if isinstance(question, str):
        return (Message("user", question),)
    if isinstance(question, (bytes, Mapping)) or not isinstance(question, Iterable):
        raise MalformedMessagesError("the conversation is neither text nor a list of messages")
    turns = list(question)
    if not all(isinstance(t, Mapping) and set(t) == {"role", "content"} for t in turns):
        raise MalformedMessagesError("a message is not exactly a role and a content")
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)


def normalise(text: str) -> str:
    """Return ``text`` without what people do not mean: case, width, spacing.

    Source: Unicode toNFKC_Casefold (UAX 31), then runs of white space become one
    space. Applying it again changes nothing.
    """
    folded = unicodedata.normalize("NFD", text).casefold()
    folded = unicodedata.normalize("NFKC", folded).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def prompt_hash(messages: Sequence[Message]) -> bytes:
    """Return the 32-byte hash of all that was asked: system and user turns, normalised."""
    asked: list[codec.Value] = [
        [message.role, normalise(message.content)]
        for message in messages
        if message.role != "assistant"  # what a model said changes with every generation
    ]
    return hashlib.sha256(b"hivelearn/prompt/1\0" + codec.encode(asked)).digest()


def is_holdout(prompt: bytes) -> bool:
    """Return whether questions with this hash are for judging: one in five."""
    return int.from_bytes(prompt[:8], "big") % HOLDOUT_ONE_IN == 0


def check_domain(domain: object) -> None:
    """Raise DomainNameError unless ``domain`` can be a topic name."""
    if not isinstance(domain, str) or DOMAIN.fullmatch(domain) is None:
        what = f"{domain!r:.80} is no domain name"
        if isinstance(domain, str) and DOMAIN.fullmatch(better := domain.strip().lower()):
            what += f"; {better!r} is one"
        raise DomainNameError(what)


def to_plain(correction: Correction) -> dict[str, Any]:
    """Return a correction as what JSON can hold; :func:`from_plain` reads it back."""
    return {
        "id": correction.id,
        "messages": [{"role": m.role, "content": m.content} for m in correction.messages],
        "right": correction.right,
        "wrong": correction.wrong,
        "domain": correction.domain,
        "subject": correction.subject,
        "base": correction.base.hex(),
        "generation": correction.generation,
        "created_s": correction.created_s,
        "holdout": correction.holdout,
    }


def from_plain(plain: Mapping[str, Any]) -> Correction:
    """Return the correction that :func:`to_plain` wrote; ``id`` and ``holdout`` are recomputed.

    Raises:
        CorrectionError: whatever is wrong with it.
    """
    try:
        given = {name: plain[name] for name in ("messages", "right", "domain", "base", "created_s")}
    except KeyError as error:
        raise CorrectionError(f"a correction without {error}") from None
    known = {name: plain.get(name) for name in ("wrong", "subject", "generation")}
    messages, base = to_conversation(given["messages"]), _from_hex(given["base"])
    return Correction(**given | known | {"messages": messages, "base": base})


def _from_hex(text: object) -> bytes:
    try:
        return bytes.fromhex(cast("str", text))
    except (TypeError, ValueError):
        raise CorrectionError("the base is not hexadecimal") from None


def _check_messages(messages: tuple[Message, ...]) -> None:
    if type(messages) is not tuple or not 0 < len(messages) <= MESSAGES_MAX:
        raise MalformedMessagesError(f"a conversation has 1 to {MESSAGES_MAX} messages")
    if not all(type(m) is Message and m.role in get_args(Role) for m in messages):
        raise MalformedMessagesError(f"a message's role is one of {', '.join(get_args(Role))}")
    if messages[-1].role != "user":
        raise MalformedMessagesError("the conversation does not end with the user's question")


def _check_text(texts: list[str]) -> None:
    for text in cast("list[object]", texts):
        if not isinstance(text, str):
            raise BinaryTextError(f"{type(text).__name__} where text belongs")
        if found := _NOT_TEXT.search(text):
            raise BinaryTextError(f"character U+{ord(found[0]):04X} is no text")
    size = sum(len(text.encode()) for text in texts)
    if size > TEXT_MAX_BYTES:
        raise CorrectionTooLargeError(f"{size} bytes of text; the limit is {TEXT_MAX_BYTES}")


def _check_rest(correction: Correction) -> None:
    if not correction.messages[-1].content.strip():
        raise EmptyCorrectionError("the question is empty")
    if not correction.right.strip():
        raise EmptyCorrectionError("the right answer is empty")
    check_domain(correction.domain)
    if len((correction.subject or "").encode()) > SUBJECT_MAX_BYTES:
        raise CorrectionTooLargeError(f"a subject holds {SUBJECT_MAX_BYTES} bytes at most")
    if type(correction.base) is not bytes or len(correction.base) != BASE_BYTES:
        raise CorrectionError("the base is not a fingerprint of 32 bytes")
    if type(correction.created_s) not in (int, float):
        raise CorrectionError("the time is no number")
    if not 0 <= correction.created_s <= TIME_MAX_S:  # NaN fails this too
        raise CorrectionError("the time is not in seconds since 1970")
    generation = correction.generation
    if generation is not None and (type(generation) is not int or not 0 < generation < 2**63):
        raise CorrectionError("the generation is not a number from 1")


def _content_id(correction: Correction) -> str:
    """Hash what was said, not when nor to which model: said again, it is the same correction."""
    said: codec.Value = [
        [[message.role, message.content] for message in correction.messages],
        correction.right,
        correction.domain,
        correction.subject,
    ]
    return hashlib.sha256(b"hivelearn/correction/1\0" + codec.encode(said)).hexdigest()
