"""`hivelearn correct`: keep what an expert says, one correction or a file of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from hivelearn.cli.command import DONE, NodeOptions
from hivelearn.errors import UsageError


@dataclass(frozen=True, slots=True)
class CorrectCommand:
    """What `correct` was wanted."""

    prompt: Annotated[str | None, typer.Argument(help="The question.")] = None
    right: Annotated[str | None, typer.Argument(help="What the answer should have been.")] = None
    domain: Annotated[str | None, typer.Option(help="What it is about, such as roman.")] = None
    wrong: Annotated[str | None, typer.Option(help="What was answered instead.")] = None
    subject: Annotated[str | None, typer.Option(help="Whom the correction concerns.")] = None
    file: Annotated[
        Path | None,
        typer.Option("--import", help="A file: see `hivelearn corrections import`."),
    ] = None
    node: NodeOptions = field(default_factory=NodeOptions)


def correct(wanted: CorrectCommand) -> int:
    """Keep an expert's correction, on this device alone.

    Needs a question, its right answer and --domain; or --import with a file.
    """
    from hivelearn.node.ask.corrections import Corrections

    _check(wanted)
    context = wanted.node.open()
    if wanted.file is not None:
        print(Corrections(context).import_from(wanted.file, wanted.domain))
        return DONE
    from hivelearn.node.ask import ask

    assert wanted.prompt is not None
    assert wanted.right is not None
    assert wanted.domain is not None
    kept = ask.correct(
        context,
        wanted.prompt,
        wanted.right,
        domain=wanted.domain,
        subject=wanted.subject,
        wrong=wanted.wrong,
    )
    judges = any(c.id == kept.id for c in context.journal.list(wanted.domain, holdout=True))
    print(f"{wanted.domain}: kept {'to judge by' if judges else 'to learn from'}")
    return DONE


def _check(wanted: CorrectCommand) -> None:
    one = (wanted.prompt, wanted.right, wanted.domain)
    if wanted.file is None and None in one:
        raise UsageError(
            "a correction needs a question, the right answer and a domain",
            remedy='hivelearn correct "Write 14 in Roman numerals." XIV --domain roman',
        )
    if wanted.file is not None and (wanted.prompt, wanted.wrong, wanted.subject) != (None,) * 3:
        raise UsageError(
            "--import brings its own questions and answers",
            remedy="Give either a question with its answer, or --import FILE.",
        )
