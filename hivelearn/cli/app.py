"""`hivelearn`: the table of commands, and the door in and out of the process.

Exit codes: 0 done · 1 nothing became better · 2 the call · 3 another node ·
4 this machine · 70 a bug of ours · 130 stopped by Ctrl-C · 141 nobody reads on.
Heavy libraries load inside commands, so that `--help` and `status` are instant.
"""

import io
import logging
import os
import sys
import warnings
from typing import Annotated, Final

import typer

from hivelearn.cli import (
    adopt,
    ask,
    chat,
    completion,
    correct,
    corrections,
    demo,
    doctor,
    join,
    merge,
    peers,
    rollback,
    status,
    train,
    trust,
    unvouch,
    vouch,
    vouches,
)
from hivelearn.cli.command import NOTHING_CHANGED, command, exit_code_of
from hivelearn.store.errors import LossWarning

_PLAIN: Final = warnings.formatwarning

app: Final = typer.Typer(
    name="hivelearn",
    no_args_is_help=True,
    add_completion=False,  # it would write to the user's shell settings
    pretty_exceptions_enable=False,  # a traceback is for people who asked for it
    rich_markup_mode=None,  # plain help needs no rich: a tenth of a second less
    context_settings={"help_option_names": ["-h", "--help"]},
)

command(app, kept="The nodes are gone and so are their homes.")(demo.demo)
command(app)(ask.ask)
command(app, kept="The corrections are kept.")(chat.chat)
command(app)(correct.correct)
app.add_typer(corrections.app, name="corrections", help="List, export, import and forget.")
command(app, kept=train.kept)(train.train)
command(app, kept="What had arrived is kept.")(join.join)
command(app, kept="What had arrived is kept.")(peers.peers)
command(app)(vouch.vouch)
command(app)(unvouch.unvouch)
command(app)(vouches.vouches)
command(app)(trust.trust)
command(app, kept="Nothing was adopted; what waits in quarantine still waits.")(adopt.adopt)
command(app)(rollback.rollback)
command(app, kept="What was in the folder before is still there.")(merge.merge)
command(app)(status.status)
command(app)(doctor.doctor)
command(app)(completion.completion)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer gives a flag's value so
    if wanted:
        from importlib.metadata import version

        print(version("hivelearn"))
        raise typer.Exit


@app.callback()
def hivelearn(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Expert corrections become LoRA patches; each node believes what it has measured."""


def _speak_utf8() -> None:
    """Begin again in UTF-8 where the locale knows ASCII alone (`LC_ALL=C`, a bare container).

    There Python reads the letters of arguments and names of files as broken bytes, and
    nothing later can tell what they were.
    """
    if sys.getfilesystemencoding() == "ascii" and sys.orig_argv:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


def _formatted(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Return a warning as text; one to the owner of a home is no line of our source."""
    if issubclass(category, LossWarning):
        return f"{message}\n"
    return _PLAIN(message, category, filename, lineno, line)


def main() -> None:
    """Run the command line; the installed `hivelearn` calls this."""
    _speak_utf8()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal shows "?" for "→"
    warnings.formatwarning = _formatted
    heard = logging.StreamHandler(sys.stderr)  # such as why the machine rests
    heard.setFormatter(logging.Formatter("%(message)s"))
    heard.setLevel(logging.WARNING)
    logging.getLogger("hivelearn").addHandler(heard)
    if completion.VARIABLE in os.environ:  # a shell asks what could come next
        from typer.completion import completion_init

        completion_init()
    sys.exit(
        exit_code_of(lambda: app(prog_name=completion.PROGRAM) or 0, NOTHING_CHANGED)
    )  # a command exits by itself
