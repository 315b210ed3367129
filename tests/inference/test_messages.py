"""Conversations come as OpenAI's clients write them; what is not text is refused by its name."""

import pytest

from hivelearn.inference.chat_template import ConversationError
from hivelearn.inference.messages import as_messages

HELLO = {"role": "user", "content": "Hello"}

TAKEN = {
    "parts of text": (
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
            }
        ],
        [{"role": "user", "content": "one\ntwo"}],
    ),
    "parts of the later interface": (
        [{"role": "user", "content": [{"type": "input_text", "text": "one"}]}],
        [{"role": "user", "content": "one"}],
    ),
    "a part that is text itself": (
        [{"role": "user", "content": ["one"]}],
        [{"role": "user", "content": "one"}],
    ),
    "a developer": (
        [{"role": "developer", "content": "Be brief."}, HELLO],
        [{"role": "system", "content": "Be brief."}, HELLO],
    ),
    "names and refusals beside it": (
        [{**HELLO, "name": "ann", "refusal": None, "tool_calls": None}],
        [HELLO],
    ),
}


@pytest.mark.parametrize(("given", "expected"), TAKEN.values(), ids=TAKEN.keys())
def test_what_a_client_sends_is_read_as_text(given, expected):
    assert as_messages(given) == expected


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
REFUSED = {
    "a picture": ([{"role": "user", "content": [IMAGE]}], "image_url"),
    "a picture beside words": (
        [{"role": "user", "content": [{"type": "text", "text": "what?"}, IMAGE]}],
        "image_url",
    ),
    "sound": ([{"role": "user", "content": [{"type": "input_audio"}]}], "input_audio"),
    "a file": ([{"role": "user", "content": [{"type": "file"}]}], "file"),
    "a part without a type": ([{"role": "user", "content": [{"text": "x"}]}], "None"),
    "a part of text without text": ([{"role": "user", "content": [{"type": "text"}]}], "text"),
    "a tool's result": ([HELLO, {"role": "tool", "content": "3"}], "'tool'"),
    "a function's result": ([{"role": "function", "content": "3"}, HELLO], "'function'"),
    "a call of a tool": (
        [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, HELLO],
        "calls a tool",
    ),
    "no parts": ([{"role": "user", "content": []}], "without text"),
    "no content": ([{"role": "user", "content": None}], "without text"),
    "half a character in a part": (
        [{"role": "user", "content": [{"type": "text", "text": "\ud800"}]}],
        "U\\+D800",
    ),
    "a role of another kind": ([{"role": ["user"], "content": "x"}], "nobody has"),
}


@pytest.mark.parametrize(("given", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_text_is_refused_by_its_name(given, named):
    with pytest.raises(ConversationError, match=named) as caught:
        as_messages(given)
    assert caught.value.remedy
