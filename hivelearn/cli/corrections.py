"""`hivelearn corrections`: list what was said, take it out and in, forget it."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hivelearn.cli.command import DONE, AsJson, NodeOptions, command
from hivelearn.errors import UsageError

if TYPE_CHECKING:
    from hivelearn.store.correction import Correction

SHOWN_CHARS: Final = 40  # of a question or an answer in a line of the list
SHOWN_DIGITS: Final = 12  # of an id
SHOWN_BEFORE: Final = 10  # corrections, before somebody agrees to forget them
STDOUT: Final = "-"
FOUND: Final = 1  # exit code
KEPT: Final = "All corrections are as they were."

app: Final = typer.Typer(name="corrections", no_args_is_help=True)

OfDomain = Annotated[str | None, typer.Option("--domain", help="Only these, such as roman.")]


@dataclass(frozen=True, slots=True)
class ListCommand:
    """What `corrections list` was given."""

    domain: OfDomain = None
    json: AsJson = False
    node: NodeOptions = field(default_factory=NodeOptions)


def listed(wanted: ListCommand) -> int:
    """List the corrections that stand, oldest first."""
    from hivelearn.node import domains
    from hivelearn.node.ask.corrections import Corrections
    from hivelearn.report.table import Table
    from hivelearn.store.correction import to_plain

    context = wanted.node.open(existing=True)
    corrections = Corrections(context)
    if wanted.domain is not None:
        domains.check_not_mistyped(context, wanted.domain)
    judges = {c.id for c in corrections.list(wanted.domain, holdout=True)}
    found = corrections.list(wanted.domain)
    if wanted.json:
        rows = [to_plain(c) | {"holdout": c.id in judges} for c in found]
        print(json.dumps({"corrections": rows}, ensure_ascii=False))
        return DONE
    if not found:
        which = "" if wanted.domain is None else f" of {wanted.domain}"
        print(f"no corrections{which} yet: ask, then correct")
        return DONE
    print(Table.of([_shown(c, judges=c.id in judges) for c in found]))
    return DONE


def _shown(correction: "Correction", *, judges: bool) -> dict[str, str]:
    return {
        "id": correction.id[:SHOWN_DIGITS],
        "domain": correction.domain,
        "question": _short(correction.messages[-1].content),
        "right": _short(correction.right),
        "": "held out" if judges else "",
    }


def _short(text: str) -> str:
    from hivelearn.printable import printable

    line = printable(" ".join(text.split()))
    return line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1]}…"


@dataclass(frozen=True, slots=True)
class AlikeCommand:
    """What `corrections alike` was given."""

    domain: OfDomain = None
    node: NodeOptions = field(default_factory=NodeOptions)


def alike(wanted: AlikeCommand) -> int:
    """Find corrections that contradict each other.

    Also those that say the same twice. Exit code 1: some were found.
    """
    from hivelearn.node import domains
    from hivelearn.node.ask.corrections import Corrections

    context = wanted.node.open(existing=True)
    if wanted.domain is not None:
        domains.check_not_mistyped(context, wanted.domain)
    found = Corrections(context).alike(wanted.domain)
    print(found)
    if found:
        print("`hivelearn corrections forget ID` deletes one for good", file=sys.stderr)
    return FOUND if found else DONE


@dataclass(frozen=True, slots=True)
class ExportCommand:
    """What `corrections export` was given."""

    file: Annotated[
        Path, typer.Argument(help="JSON lines; what was there is replaced. - is standard output.")
    ]
    domain: OfDomain = None
    node: NodeOptions = field(default_factory=NodeOptions)


def exported(wanted: ExportCommand) -> int:
    """Write corrections to a file that `import` reads.

    Earlier answers to the same question, too.
    """
    from hivelearn.node.ask.corrections import Corrections

    corrections = Corrections(wanted.node.open(existing=True))
    if str(wanted.file) == STDOUT:
        print(corrections.to_jsonl(wanted.domain), end="")
        return DONE
    count = corrections.export_to(wanted.file, wanted.domain)
    print(f"{count} correction{'' if count == 1 else 's'} in {wanted.file}")
    return DONE


@dataclass(frozen=True, slots=True)
class ImportCommand:
    """What `corrections import` was given."""

    file: Annotated[Path, typer.Argument(help="JSON lines, a JSON list, CSV or Parquet.")]
    domain: Annotated[str | None, typer.Option(help="Of rows that name none.")] = None
    node: NodeOptions = field(default_factory=NodeOptions)


def imported(wanted: ImportCommand) -> int:
    """Take in every row of a file, or none.

    A row is {"prompt": …, "right": …}, or of OpenAI chat, ShareGPT, Alpaca, DPO, prompt/completion.
    """
    from hivelearn.node.ask.corrections import Corrections

    print(Corrections(wanted.node.open()).import_from(wanted.file, wanted.domain))
    return DONE


@dataclass(frozen=True, slots=True)
class ForgetCommand:
    """What `corrections forget` was given."""

    id: Annotated[str | None, typer.Argument(help="Of one; eight digits or more.")] = None
    domain: Annotated[str | None, typer.Option(help="All of a domain.")] = None
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
    node: NodeOptions = field(default_factory=NodeOptions)


def forgotten(wanted: ForgetCommand) -> int:
    """Delete one correction, or all of a domain.

    No file of the home keeps their text. What a model has learnt from them stays
    learnt; it says which patches that may be.
    """
    from hivelearn.node.ask.corrections import Corrections
    from hivelearn.store.errors import ForgetWhatError

    if (wanted.id is None) == (wanted.domain is None):
        raise ForgetWhatError("forget either one correction or one domain")
    corrections = Corrections(wanted.node.open(existing=True))
    if not wanted.yes:
        one = None if wanted.id is None else corrections.find(wanted.id)
        _ask(corrections.list(wanted.domain) if one is None else (one,))
    print(corrections.forget(wanted.id, domain=wanted.domain))
    return DONE


def _ask(about: "tuple[Correction, ...]") -> None:
    """Go on only if a person agrees.

    Raises:
        UsageError: they do not, or nobody is there to be asked.
    """
    if not about:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("standard input is no terminal", remedy="Say --yes to forget unasked.")
    for correction in about[:SHOWN_BEFORE]:
        print(f"  {correction.domain}: {_short(correction.messages[-1].content)}")
    if len(about) > SHOWN_BEFORE:
        print(f"  and {len(about) - SHOWN_BEFORE} more")
    if not typer.confirm(f"Forget {len(about)} for good?", default=False):
        raise UsageError("nothing was forgotten", remedy="Say yes, or --yes, to forget.")


command(app, name="list")(listed)
command(app)(alike)
command(app, name="export")(exported)
command(app, name="import", kept=KEPT)(imported)
command(app, name="forget", kept=KEPT)(forgotten)
