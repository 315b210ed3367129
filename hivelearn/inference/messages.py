"""What a caller may give as a conversation: text, or chat messages as OpenAI's clients write them.

Contents may be lists of parts; texts among them are joined by newlines. What a text
model cannot read (pictures, sound, files, calls of tools) is refused by its name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from hivelearn.inference.chat_template import ConversationError

Messages: TypeAlias = Sequence[Mapping[str, Any]]

_ROLES: Final = {
    "system": "system",
    "developer": "system",  # OpenAI's later name of it
    "user": "user",
    "assistant": "assistant",
}
_TEXT_PARTS: Final = ("text", "input_text", "output_text")
_CALLS: Final = ("tool_calls", "function_call")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")  # half a character: no UTF-8, no token


def as_messages(prompt: "str | Messages") -> list[dict[str, str]]:
    """Return ``prompt`` as chat messages of role and text, checked.

    Raises:
        ConversationError: empty, not a list of role and content, or more than text.
    """
    if isinstance(prompt, str):
        if not prompt.strip():
            raise ConversationError("the question is empty", remedy="Ask something.")
        prompt = [{"role": "user", "content": prompt}]
    if isinstance(prompt, Mapping) or not isinstance(prompt, Iterable):
        raise ConversationError(f"a {type(prompt).__name__} is no conversation")
    messages = [_message(each) for each in prompt]
    if not messages or messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise ConversationError("the conversation does not end with a user's words")
    return messages


def with_texts(prompt: "str | Messages") -> "str | Messages":
    """Return ``prompt`` with contents that are lists of parts joined; all else as it was given.

    Raises:
        ConversationError: a part that is no text.
    """
    if not isinstance(prompt, list | tuple):
        return prompt
    return [
        {**each, "content": _text(each["content"], str(each.get("role")))}
        if isinstance(each, Mapping) and isinstance(each.get("content"), list | tuple)
        else each
        for each in prompt
    ]


def check_text(text: object) -> None:
    """Raise ConversationError unless ``text`` is text of whole characters."""
    if not isinstance(text, str):
        raise ConversationError(f"a {type(text).__name__} where text belongs")
    if half := _SURROGATE.search(text):
        raise ConversationError(f"character U+{ord(half[0]):04X} is no text")


def _message(given: object) -> dict[str, str]:
    if not isinstance(given, Mapping) or "role" not in given:
        raise ConversationError(f"{str(given)[:80]!r} is not a message")
    role = given["role"]
    if role in ("tool", "function"):
        raise ConversationError(
            f"a message of role {role!r}: this node calls no tools",
            remedy="Give the tool's result in the words of the user.",
        )
    if any(given.get(name) for name in _CALLS):
        raise ConversationError(
            "a message that calls a tool: this node calls none",
            remedy="Leave out messages with tool_calls and the results that follow them.",
        )
    if not isinstance(role, str) or role not in _ROLES:
        raise ConversationError(f"a message of role {str(role)[:20]!r}, which nobody has")
    if "content" not in given:
        raise ConversationError(f"{str(given)[:80]!r} is not a message")
    text = _text(given["content"], role)
    check_text(text)
    return {"role": _ROLES[role], "content": text}


def _text(content: object, role: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple) or not content:
        raise ConversationError(f"a message of role {role!r} without text")
    return "\n".join(_part(each) for each in content)


def _part(given: object) -> str:
    if isinstance(given, str):
        return given
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind in _TEXT_PARTS and isinstance(given, Mapping) and isinstance(given.get("text"), str):
        text: str = given["text"]
        return text
    raise ConversationError(
        f"a part of type {str(kind)[:40]!r}: this node reads text alone",
        remedy="Leave it out, or say in words what it shows.",
    )
