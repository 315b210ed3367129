"""How one tokenizer's chat template wants to be called, found once at opening.

A template is foreign code in a sandbox and raises what it likes: one demands a
system message, one a list of tools, one reads contents as lists of parts. A short
conversation is rendered in each of these ways; the first one in which the user's
words appear is used from then on. A template that no way satisfies is refused at
opening. A tokenizer without a template gets the plainest one (``user: …`` lines).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from hivelearn.errors import UsageError
from hivelearn.inference.errors import NoModelError

_PROBE: Final = "zebra"  # unlikely in a template's own words
_PLAIN: Final = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
_PREFERRED: Final = "default"  # of several named templates


class ConversationError(UsageError):
    """These messages are no conversation that a model can answer."""

    remedy = "Give a string, or messages like [{'role': 'user', 'content': 'Hello'}]."


class ContextFullError(ConversationError):
    """The conversation is longer than the model's context."""

    remedy = "Shorten it, or open a model with a longer context."


class ChatTemplateError(NoModelError):
    """The model's chat template cannot be used."""

    remedy = (
        "Put a chat_template.jinja that works into the folder, or take the template out of it: "
        "then plain lines are used ('user: …')."
    )


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A tokenizer with the way its template is called. Comes from :func:`fitting`."""

    tokenizer: Any
    text: str | None  # ours or a chosen one; None: the tokenizer's own
    plain: bool = False  # ours
    tools: bool = False  # an empty list of tools is given
    lead: bool = False  # an empty system message goes before those without one
    parts: bool = False  # contents are lists of parts

    def render(self, messages: Sequence[Mapping[str, str]], *, generation: bool) -> str:
        """Return ``messages`` as the model reads them.

        Raises:
            ConversationError: the template refuses them.
        """
        try:
            return self._render(messages, generation=generation)
        except Exception as error:  # a template is foreign code and raises what it likes
            first = str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)
            if messages[0]["role"] == "system":
                raise ConversationError(
                    f"the model's chat template refuses: {first}",
                    remedy="Some models take no system message: put its words before the "
                    "user's first.",
                ) from error
            raise ConversationError(f"the model's chat template refuses: {first}") from error

    def _render(self, messages: Sequence[Mapping[str, str]], *, generation: bool) -> str:
        given: list[dict[str, Any]] = [dict(message) for message in messages]
        if self.lead and given[0]["role"] != "system":
            given.insert(0, {"role": "system", "content": ""})
        if self.parts:
            for message in given:
                message["content"] = [{"type": "text", "text": message["content"]}]
        rendered = self.tokenizer.apply_chat_template(
            given,
            chat_template=self.text,
            tokenize=False,
            add_generation_prompt=generation,
            **({"tools": []} if self.tools else {}),
        )
        if not isinstance(rendered, str):
            raise TypeError(f"it gives a {type(rendered).__name__}")
        return rendered


def fitting(tokenizer: Any) -> ChatTemplate:
    """Return the template of ``tokenizer``, called in a way in which a user's words come through.

    Raises:
        ChatTemplateError: there is no such way.
    """
    if not tokenizer.chat_template:
        return ChatTemplate(tokenizer, _PLAIN, plain=True)
    text = _chosen(tokenizer.chat_template)
    reason = ""
    for parts, lead, tools in product((False, True), repeat=3):
        template = ChatTemplate(tokenizer, text, parts=parts, lead=lead, tools=tools)
        try:
            rendered = template.render([{"role": "user", "content": _PROBE}], generation=True)
        except ConversationError as error:
            reason = reason or error.what
            continue
        if _PROBE in rendered.casefold():
            return template
        reason = reason or "the model's chat template leaves out the user's words"
    raise ChatTemplateError(reason)


def _chosen(template: object) -> str | None:
    """Return the one to use of several named templates; None where there is one."""
    if not isinstance(template, Mapping):
        return None
    if _PREFERRED not in template and len(template) != 1:
        raise ChatTemplateError(f"the model has several chat templates: {', '.join(template)}")
    chosen: str = template.get(_PREFERRED) or next(iter(template.values()))
    return chosen
