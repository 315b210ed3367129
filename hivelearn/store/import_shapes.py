"""A row of whatever tool, as a question and its right answer.

One table of shapes: what a row must have to be of one, and how it becomes messages, a
right and a wrong answer. What cannot be learnt from is refused by name (tool calls,
pictures, ratings); what a foreign row has besides is passed over and named; a row of our
own shape with a field of no meaning is refused, for a typing error must not go unseen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hivelearn.store.errors import CorrectionError

WANTED: Final = (
    "A row has prompt and right (or completion, response); messages or conversations that end "
    "with the answer; instruction and output; question and answer; or prompt, chosen and rejected. "
    "And a domain, unless --domain NAME (in Python domain=...) gives one for all."
)

Turn = dict[str, str]
Fields = Mapping[str, Any]

_OURS: Final = frozenset("wrong domain subject base generation created_s id holdout".split())
_ROLES: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "bot": "assistant",
}
_TOOLS: Final = frozenset("tool function observation function_call tool_call ipython".split())
_TEXT_PARTS: Final = frozenset("text input_text output_text".split())
_BESIDES: Final = frozenset("name weight".split())  # of a message: no template shows them
# What a row may be about besides text; each would be silently lost.
_REFUSED: Final = {
    **dict.fromkeys("tools functions tool_choice".split(), "tools cannot be learnt from"),
    **dict.fromkeys("image images audio audios video videos".split(), "only text is learnt from"),
    "label": "a rated answer is no right one; keep the good ones and drop the field",
    "labels": "a rated answer is no right one; keep the good ones and drop the field",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What a row says."""

    messages: list[Turn]  # up to the user's question
    right: str
    wrong: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to write a question and its answer."""

    needs: frozenset[str]
    reads: frozenset[str]  # besides
    said: Callable[[Fields], Said]
    strict: bool = False  # ours: every other field is a typing error


def corrected(fields: Fields) -> tuple[dict[str, Any], frozenset[str]]:
    """Return what :func:`hivelearn.store.correction.from_plain` takes, and what was passed over.

    Null, in a row or in a message, is as good as absent: tables fill with it.

    Raises:
        CorrectionError: it is of no shape, of two, or of what cannot be learnt.
    """
    given = _without_null(fields)
    for name, why in _REFUSED.items():
        if name in given:
            raise CorrectionError(f"field {name!r}: {why}")
    shape = _shape(given)
    said, rest = shape.said(given), given.keys() - shape.needs - shape.reads - _OURS
    for name in sorted(rest):
        if shape.strict or not isinstance(name, str):
            raise CorrectionError(f"unknown field {name!r:.80}")
    wrong = _text(given["wrong"]) if "wrong" in given else said.wrong
    as_it_is = ("domain", "base", "created_s")
    kept: dict[str, Any] = {name: given[name] for name in as_it_is if name in given}
    if "subject" in given:
        kept["subject"] = _text(given["subject"])
    if "generation" in given:
        kept["generation"] = _whole(given["generation"])
    return {**kept, "messages": said.messages, "right": said.right, "wrong": wrong}, frozenset(rest)


def _shape(given: Fields) -> Shape:
    found = [shape for shape in SHAPES if shape.needs <= given.keys()]
    if not found:
        has = f"its fields: {', '.join(sorted(map(str, given))) or 'none'}"
        lacks = "answer" if _QUESTIONS & given.keys() else "question"
        raise CorrectionError(f"it has no {lacks} ({has:.200})")
    shape = found[0]
    for name in sorted((_QUESTIONS | _ANSWERS) & given.keys() - shape.needs - shape.reads):
        kind = "question" if name in _QUESTIONS else "answer"
        raise CorrectionError(f"it has two {kind}s, {name!r} one of them; give either")
    return shape


def _without_null(fields: Fields) -> dict[str, Any]:
    # A table of numbers has NaN where it has nothing; alone of all values it differs from itself.
    return {name: value for name, value in fields.items() if value is not None and value == value}  # noqa: PLR0124


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        return "".join(_part(part) for part in value)
    if type(value) is int:
        return str(value)
    if type(value) is float:  # 4.50 and 4.5 are one number and two answers
        raise CorrectionError(f"the number {value!r} where text belongs; write it in quotes")
    raise CorrectionError(f"{type(value).__name__} where text belongs")


def _part(part: Fields) -> str:
    kind = part.get("type")
    if kind not in _TEXT_PARTS or not isinstance(part.get("text"), str):
        raise CorrectionError(f"a part of type {kind!r:.40}; only text is learnt from")
    return str(part["text"])


def _whole(value: object) -> object:
    """Return a number that a table has widened as what it was; anything else is judged later."""
    return int(value) if type(value) is float and value.is_integer() else value


def _turns(value: object) -> list[Turn]:
    if not isinstance(value, list) or not value:
        raise CorrectionError("the conversation is no list of messages")
    return [_turn(message) for message in value]


def _turn(message: object) -> Turn:
    if not isinstance(message, dict):
        raise CorrectionError("a message is no object")
    given = _without_null(message)
    role = given.pop("role", None) or given.pop("from", None)
    for name in ("tool_calls", "function_call", "tool_call_id"):
        if given.get(name):
            raise CorrectionError(f"a message with {name!r}; tools cannot be learnt from")
    if not isinstance(role, str) or (role not in _ROLES and role not in _TOOLS):
        raise CorrectionError(f"a message of the role {role!r:.40}; known are {', '.join(_ROLES)}")
    if role in _TOOLS:
        raise CorrectionError(f"a message of the role {role!r}; tools cannot be learnt from")
    content = [given.pop(name) for name in ("content", "value") if name in given]
    if len(content) != 1:
        raise CorrectionError("a message is not exactly a role and a content")
    rest = {name for name, value in given.items() if value not in ([], "")} - _BESIDES
    if rest:
        raise CorrectionError(f"a message with {min(rest)!r:.40}; it has a role and a content")
    return {"role": _ROLES[role], "content": _text(content[0])}


def _answered(turns: list[Turn], wrong: str | None = None) -> Said:
    """Return a conversation whose last turn is the answer."""
    if turns[-1]["role"] != "assistant":
        raise CorrectionError("the conversation ends without an answer, and there is no 'right'")
    return Said(turns[:-1], turns[-1]["content"], wrong)


def _asked(value: object) -> list[Turn]:
    """Return a prompt, which may be a conversation up to the question."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and "type" not in value[0]:
        return _turns(value)
    return [{"role": "user", "content": _text(value)}]


def _answer(value: object, asked: list[Turn]) -> str:
    """Return an answer that may be a turn, or a whole conversation that repeats what was asked."""
    turns = [_turn(value)] if isinstance(value, dict) else []
    if isinstance(value, list) and value and isinstance(value[0], dict) and "type" not in value[0]:
        turns = _turns(value)
    if not turns:
        return _text(value)
    if turns[-1]["role"] != "assistant" or turns[:-1] not in ([], asked):
        raise CorrectionError("an answer that is no answer to this prompt")
    return turns[-1]["content"]


def _plainly(question: str, answer: str) -> Callable[[Fields], Said]:
    def said(given: Fields) -> Said:
        asked = _asked(given[question])
        return Said(asked, _answer(given[answer], asked))

    return said


def _corrected_turns(given: Fields) -> Said:
    return Said(_turns(given["messages"]), _text(given["right"]))


def _conversation(name: str) -> Callable[[Fields], Said]:
    def said(given: Fields) -> Said:
        return _answered(_opened(given, _turns(given[name])))

    return said


def _opened(given: Fields, turns: list[Turn]) -> list[Turn]:
    """Return ``turns`` after the row's own system prompt, if it has one."""
    if not given.get("system"):
        return turns
    return [{"role": "system", "content": _text(given["system"])}, *turns]


def _instructed(answer: str, context: str) -> Callable[[Fields], Said]:
    def said(given: Fields) -> Said:
        asked = [_text(given["instruction"])]
        asked += [_text(given[context])] if given.get(context) else []
        turns = _opened(given, _history(given.get("history")))
        question = {"role": "user", "content": "\n\n".join(asked)}
        return Said([*turns, question], _text(given[answer]))

    return said


def _history(value: object) -> list[Turn]:
    turns: list[Turn] = []
    for pair in value if isinstance(value, list) else []:
        if not isinstance(pair, list) or len(pair) != len(("user", "assistant")):
            raise CorrectionError("a history that is no list of pairs")
        for role, words in zip(("user", "assistant"), pair, strict=True):
            turns.append({"role": role, "content": _text(words)})
    return turns


def _preferred(name: str) -> Callable[[Fields], Said]:
    def said(given: Fields) -> Said:
        asked = _asked(given[name]) if name == "prompt" else _opened(given, _turns(given[name]))
        wrong = _answer(given["rejected"], asked) if "rejected" in given else None
        return Said(asked, _answer(given["chosen"], asked), wrong)

    return said


def _preferred_turns(given: Fields) -> Said:
    """Take two conversations that differ in their last turn, the question being in both."""
    if not isinstance(given["chosen"], list):
        raise CorrectionError("it has no question: 'chosen' is one answer, and there is no prompt")
    good, bad = _answered(_turns(given["chosen"])), _answered(_turns(given["rejected"]))
    if good.messages != bad.messages:
        raise CorrectionError("'chosen' and 'rejected' answer different questions")
    return Said(good.messages, good.right, bad.right)


def _of(
    needs: str, said: Callable[[Fields], Said], reads: str = "", *, ours: bool = False
) -> Shape:
    return Shape(frozenset(needs.split()), frozenset(reads.split()), said, ours)


# The first that fits is taken. A question or an answer that it does not read is one too many.
SHAPES: Final = (
    _of("prompt right", _plainly("prompt", "right"), ours=True),
    _of("messages right", _corrected_turns, ours=True),
    _of("prompt chosen", _preferred("prompt"), "rejected"),  # DPO
    _of("conversations chosen", _preferred("conversations"), "rejected system"),
    _of("chosen rejected", _preferred_turns),
    _of("messages", _conversation("messages"), "system"),  # OpenAI
    _of("conversations", _conversation("conversations"), "system"),  # ShareGPT
    _of("instruction output", _instructed("output", "input"), "input system history"),  # Alpaca
    _of("instruction response", _instructed("response", "context"), "context"),  # Dolly
    _of("prompt completion", _plainly("prompt", "completion")),
    _of("prompt response", _plainly("prompt", "response")),
    _of("question answer", _plainly("question", "answer")),
    _of("query response", _plainly("query", "response")),
    _of("input output", _plainly("input", "output")),
)
_ANSWERS: Final = frozenset("right completion response answer output chosen rejected".split())
_QUESTIONS: Final = frozenset(
    "prompt messages conversations instruction question query input".split()
)
