"""`hivelearn ask`: answer one question."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from hivelearn.cli.command import DONE, NodeOptions, as_typed


@dataclass(frozen=True, slots=True)
class AskCommand:
    """What `ask` was given."""

    prompt: Annotated[str, typer.Argument(help="The question.")]
    domain: Annotated[
        str | None, typer.Option(help="Its specialist answers. [default: the router decides]")
    ] = None
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of the answer at most.")] = 128
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
    from hivelearn.node.node import Node

    with Node(wanted.node.model, config=wanted.node.config(), progress=False) as node:
        answer = node.ask(
            as_typed(wanted.prompt),
            wanted.domain,
            max_new_tokens=wanted.max_new_tokens,
            experts=wanted.experts,
        )
    if wanted.json:
        print(answer.to_json())
        return DONE
    print(answer.text)
    typer.echo(f"— {answer.route}", err=True)
    return DONE
