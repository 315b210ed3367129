"""`hivelearn ask`: answer one question."""

import sys
from dataclasses import dataclass, field
from typing import Annotated, Final

import typer

from hivelearn.cli.command import DONE, NodeOptions
from hivelearn.errors import UsageError

STDIN: Final = "-"
QUESTION_MAX_BYTES: Final = 4 << 20  # more than any model's context


@dataclass(frozen=True, slots=True)
class AskCommand:
    """What `ask` was given."""

    prompt: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")]
    domain: Annotated[
        str | None, typer.Option(help="Its specialist answers. [default: the router decides]")
    ] = None
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of the answer at most.")] = 128
    temperature: Annotated[float, typer.Option(help="Of sampling; 0 takes the likeliest.")] = 0.0
    top_p: Annotated[float, typer.Option(help="Share of the likeliest tokens to draw from.")] = 1.0
    top_k: Annotated[int, typer.Option(help="How many tokens to draw from; 0 is all.")] = 0
    seed: Annotated[int, typer.Option(help="Of sampling.")] = 0
    stop: Annotated[
        list[str] | None,
        typer.Option(help="End the answer before this text; may be given several times."),
    ] = None
    experts: Annotated[
        list[str] | None,
        typer.Option(help="Choose among these expert ids only; may be given several times."),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
    node: NodeOptions = field(default_factory=NodeOptions)


def ask(wanted: AskCommand) -> int:
    """Answer one question.

    The answer goes to stdout; who gave it, to stderr.
    """
    from hivelearn.node import domains
    from hivelearn.node.node import Node

    question = _from_stdin() if wanted.prompt == STDIN else wanted.prompt
    if not question.strip():
        raise UsageError("the question is empty", remedy="Write it in quotes, or - and pipe it in.")
    if wanted.domain is not None:  # before a model is opened for nothing
        domains.check_known(wanted.node.open(), wanted.domain)
    with Node(wanted.node.model, config=wanted.node.config()) as node:
        answer = node.ask(
            question,
            wanted.domain,
            max_new_tokens=wanted.max_new_tokens,
            temperature=wanted.temperature,
            top_p=wanted.top_p,
            top_k=wanted.top_k,
            stop=wanted.stop or (),
            seed=wanted.seed,
            experts=wanted.experts,
        )
    if wanted.json:
        print(answer.to_json())
        return DONE
    print(answer.text)
    typer.echo(f"— {answer.route}", err=True)
    return DONE


def _from_stdin() -> str:
    """Return what standard input holds, without the newline that a pipe puts behind it."""
    if sys.stdin is None:
        raise UsageError("standard input is closed", remedy="Give the question as an argument.")
    raw = sys.stdin.buffer.read(QUESTION_MAX_BYTES + 1)
    if len(raw) > QUESTION_MAX_BYTES:
        raise UsageError(
            f"standard input is longer than {QUESTION_MAX_BYTES >> 20} MiB",
            remedy="Ask about a part of it.",
        )
    try:
        return raw.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"standard input is not UTF-8 text: byte {error.start} is wrong",
            remedy="Convert it, such as with iconv -t utf-8.",
        ) from None
