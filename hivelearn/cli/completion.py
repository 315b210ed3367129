"""`hivelearn completion`: a script for the user's shell, printed and never installed."""

from dataclasses import dataclass
from typing import Annotated, Final

import typer

from hivelearn.bounds import did_you_mean
from hivelearn.cli.command import DONE
from hivelearn.errors import UsageError

PROGRAM: Final = "hivelearn"
SHELLS: Final = ("bash", "zsh", "fish", "powershell")  # typer writes scripts for these
VARIABLE: Final = "_HIVELEARN_COMPLETE"  # as typer looks for it: how the script asks us


@dataclass(frozen=True, slots=True)
class CompletionCommand:
    """What `completion` was given."""

    shell: Annotated[str, typer.Argument(help=f"One of {', '.join(SHELLS)}.", show_default=False)]


def completion(wanted: CompletionCommand) -> int:
    """Print a script that completes words in a shell.

    For bash, once: hivelearn completion bash >> ~/.bash_completion
    """
    from typer.completion import get_completion_script

    if wanted.shell not in SHELLS:
        like = did_you_mean(wanted.shell, SHELLS)
        raise UsageError(
            f"there is no script for the shell {wanted.shell!r}{like}",
            remedy=f"There are scripts for {', '.join(SHELLS)}.",
        )
    print(get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=wanted.shell))
    return DONE
