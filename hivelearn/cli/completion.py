"""`hivelearn completion`: a script for the user's shell, printed and never installed."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

import typer

from hivelearn.cli.command import DONE

PROGRAM: Final = "hivelearn"
VARIABLE: Final = "_HIVELEARN_COMPLETE"  # as typer looks for it: how the script asks us


class Shell(StrEnum):
    """Shells that typer writes scripts for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


@dataclass(frozen=True, slots=True)
class CompletionCommand:
    """What `completion` was given."""

    shell: Annotated[Shell, typer.Argument(help="Which shell.", show_default=False)]


def completion(wanted: CompletionCommand) -> int:
    """Print a script that completes commands and options in a shell.

    For bash, once: hivelearn completion bash >> ~/.bash_completion
    """
    from typer.completion import get_completion_script

    print(get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=wanted.shell.value))
    return DONE
