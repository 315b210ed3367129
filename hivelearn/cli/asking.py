"""Ask, and correct: what an expert does all day."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from hivelearn.cli.command import DONE, Where
from hivelearn.errors import UsageError


@dataclass(frozen=True, slots=True)
class Question:
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
    where: Where = field(default_factory=Where)


def ask(question: Question) -> int:
    """Answer one question.

    The answer goes to stdout; who gave it, to stderr.
    """
    from hivelearn.node.node import Node

    with Node(question.where.model, home=question.where.home, progress=False) as node:
        answer = node.ask(
            question.prompt,
            question.domain,
            max_new_tokens=question.max_new_tokens,
            experts=question.experts,
        )
    if question.json:
        print(answer.to_json())
        return DONE
    print(answer.text)
    typer.echo(f"— {answer.route}", err=True)
    return DONE


@dataclass(frozen=True, slots=True)
class Lesson:
    """What `correct` was given."""

    prompt: Annotated[str | None, typer.Argument(help="The question.")] = None
    right: Annotated[str | None, typer.Argument(help="What the answer should have been.")] = None
    domain: Annotated[str | None, typer.Option(help="What it is about, such as roman.")] = None
    wrong: Annotated[str | None, typer.Option(help="What was answered instead.")] = None
    subject: Annotated[str | None, typer.Option(help="Whom the correction concerns.")] = None
    file: Annotated[
        Path | None,
        typer.Option("--import", help='JSON lines: {"prompt": …, "right": …}; all or none.'),
    ] = None
    where: Where = field(default_factory=Where)


def correct(lesson: Lesson) -> int:
    """Keep an expert's correction, on this device alone."""
    from hivelearn.node.ask.corrections import Corrections
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.context import open_context

    _check(lesson)
    context = open_context(lesson.where.model, NodeConfig(home=lesson.where.home))
    if lesson.file is not None:
        new = Corrections(context).import_jsonl(lesson.file, lesson.domain)
        print(f"{new} new correction{'' if new == 1 else 's'}")
        return DONE
    from hivelearn.node.ask import ask

    assert lesson.prompt is not None
    assert lesson.right is not None
    assert lesson.domain is not None
    kept = ask.correct(
        context,
        lesson.prompt,
        lesson.right,
        domain=lesson.domain,
        subject=lesson.subject,
        wrong=lesson.wrong,
    )
    print(f"{lesson.domain}: kept {'to judge by' if kept.holdout else 'to learn from'}")
    return DONE


def _check(lesson: Lesson) -> None:
    one = (lesson.prompt, lesson.right, lesson.domain)
    if lesson.file is None and None in one:
        raise UsageError(
            "a correction needs a question, the right answer and a domain",
            remedy='hivelearn correct "Write 14 in Roman numerals." XIV --domain roman',
        )
    if lesson.file is not None and (lesson.prompt, lesson.wrong, lesson.subject) != (None,) * 3:
        raise UsageError(
            "--import brings its own questions and answers",
            remedy="Give either a question with its answer, or --import FILE.",
        )
