"""`hivelearn chat`: a conversation in which a wrong answer is put right on the spot.

The loop reads a line and hands it to `Conversation`, which knows what was said and
what each command means. Nothing of it is kept but the corrections.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hivelearn.bounds import did_you_mean
from hivelearn.cli.command import DONE, NodeOptions
from hivelearn.errors import UsageError
from hivelearn.printable import printable

if TYPE_CHECKING:
    from hivelearn.node.ask.answer import Answer
    from hivelearn.node.node import Node

HELP: Final = """\
/right TEXT     that answer was wrong; this is the right one, whole
/domain NAME    what we talk about: its specialist answers, and corrections are of it
/domain         leave it to the router again
/new            forget the conversation, keep the corrections
/help           this list
/quit           leave, as Ctrl-D does
Ctrl-C ends an answer that is too long."""
COMMANDS: Final = ("right", "domain", "new", "help", "quit")
PROMPT: Final = "> "


@dataclass(frozen=True, slots=True)
class ChatCommand:
    """What `chat` was given."""

    domain: Annotated[
        str | None, typer.Option(help="What it is about. [default: the router decides]")
    ] = None
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of an answer at most.")] = 256
    node: NodeOptions = field(default_factory=NodeOptions)


@dataclass
class Conversation:
    """What was said so far, and what a line typed next means."""

    node: "Node"
    write: Callable[[str], object]  # takes pieces of text, newlines included
    domain: str | None = None
    max_new_tokens: int = 256
    messages: list[dict[str, str]] = field(default_factory=list)
    last: "Answer | None" = None

    def take(self, line: str) -> bool:
        """Do what ``line`` says; return False if it ends the conversation.

        Raises:
            UsageError: a command that cannot be; the conversation goes on.
        """
        text = line.strip()
        if not text.startswith("/"):
            if text:
                self._ask(text)
            return True
        word, _, rest = text[1:].partition(" ")
        match word:
            case "right":
                self._correct(rest.strip())
            case "domain":
                self.talk_about(rest.strip() or None)
            case "new":
                self.messages, self.last = [], None
            case "help":
                self._say(HELP)
            case "quit" | "exit":
                return False
            case _:
                like = did_you_mean(word, COMMANDS)
                raise UsageError(f"there is no command /{word}{like}", remedy="/help lists them.")
        return True

    def talk_about(self, domain: str | None) -> None:
        """Ask ``domain``'s specialist from now on, and keep corrections as of it; None: the router.

        Raises:
            DomainNameError: it can be no domain; nothing changed.
        """
        from hivelearn.node import domains
        from hivelearn.store.correction import check_domain

        if domain is not None:
            check_domain(domain)
        self.domain = domain
        if domain is None:
            self._say("the router decides")
        elif domain in domains.known(self.node.context):
            self._say(f"about {domain}")
        elif near := domains.meant(self.node.context, domain):
            self._say(f"about {domain}, which is new; if you meant {near}: /domain {near}")
        else:
            self._say(f"about {domain}, which is new: its first correction begins it")

    def _ask(self, text: str) -> None:
        asked = [*self.messages, {"role": "user", "content": text}]
        from hivelearn.inference.chat_template import ContextFullError

        try:
            stream = self.node.stream(asked, self._stated(), max_new_tokens=self.max_new_tokens)
        except ContextFullError as error:
            raise ContextFullError(
                error.what, remedy="Begin anew with /new, or ask less."
            ) from None
        with stream:
            try:
                for piece in stream:
                    self.write(piece)
            except KeyboardInterrupt:
                stream.close()  # what was said until now is the answer
        self.last = stream.answer
        self.messages = [*asked, {"role": "assistant", "content": self.last.text}]
        self._say(f"\n— {self.last.route}")

    def _stated(self) -> str | None:
        """Return the domain if it can answer: a new one begins with its first correction."""
        from hivelearn.node.domains import known

        return self.domain if self.domain in known(self.node.context) else None

    def _correct(self, right: str) -> None:
        if self.last is None:
            raise UsageError("there is no answer to correct", remedy="Ask something first.")
        if not right:
            raise UsageError("the right answer is missing", remedy="Write it behind: /right XIV")
        if self.domain is None:
            raise UsageError(
                "a correction needs to know what it is about", remedy="Say it first: /domain NAME"
            )
        self.last.correct(right, domain=self.domain)
        self.messages[-1] = {"role": "assistant", "content": right}  # we go on from what is right
        count = self.node.corrections.counts()[self.domain]
        self._say(f"kept; corrections of {self.domain}: {count.training + count.holdout}")

    def _say(self, text: str) -> None:
        self.write(f"{text}\n")


def chat(wanted: ChatCommand) -> int:
    """Talk, and correct what is wrong: /help says how.

    Standard input may be a file: one question or command a line. Exit code 2: one was refused.
    """
    from hivelearn.node.node import Node

    with Node(wanted.node.model, config=wanted.node.config()) as node:
        talk = Conversation(node, _write, max_new_tokens=wanted.max_new_tokens)
        typed = sys.stdin.isatty()
        if typed:
            print(f"{node.name} on {node.status().model}. /help lists what else can be typed.")
        if wanted.domain is not None:
            talk.talk_about(wanted.domain)
        refused = DONE
        for line in _lines():
            try:
                if not talk.take(line):
                    break
            except UsageError as error:
                print(error, file=sys.stderr, flush=True)
                refused = error.exit_code
    return DONE if typed else refused  # who types has seen it


def _write(text: str) -> None:
    """Show a piece of an answer; a terminal obeys nothing that an expert learnt to say."""
    lines = (printable(line) for line in text.split("\n"))
    print("\n".join(lines), end="", flush=True)


def _lines() -> Iterable[str]:
    """Yield what a person types until Ctrl-D, or the lines of a file."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - arrows and history in input(), where there is one
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            print()
            return
