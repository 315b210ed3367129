"""A command is a frozen record of what was typed and a function from it to an exit code.

Typer reads options from a function's parameters; here it reads them from the
fields of a record (a record in a record is flattened), so that ten options are
not ten parameters and a command can be called in a test without a command line.
What goes wrong, and Ctrl-C, is told in one place for all commands.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, cast, get_type_hints

import typer

from hivelearn.errors import DeviceError, HivelearnError
from hivelearn.printable import printable

if TYPE_CHECKING:
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.context import NodeContext

T = TypeVar("T")

DEBUG: Final = "HIVELEARN_DEBUG"  # set: tell where an error came from
DONE: Final = 0
NO_LIFT: Final = 1  # it went well, and nothing became better
OUR_BUG: Final = 70  # as sysexits.h says it: EX_SOFTWARE
INTERRUPTED: Final = 130  # as shells say it: 128 + SIGINT
HUNG_UP: Final = 141  # 128 + SIGPIPE: whoever read our output has gone
NOTHING_CHANGED: Final = "Nothing was changed."


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """Which node: the options that every command has."""

    model: Annotated[
        str | None,
        typer.Option(
            help="Folder, GGUF file or hub id of a causal LM; smollm2; nano. "
            "[default: the one that the home remembers, else nano]"
        ),
    ] = None
    home: Annotated[
        str | None,
        typer.Option(help="The node's directory. [default: $HIVELEARN_HOME, else the platform's]"),
    ] = None
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code", help="Run code out of the model's folder, with your rights."
        ),
    ] = False

    def config(self) -> "NodeConfig":
        """Return the configuration of this node."""
        from hivelearn.node.config import NodeConfig

        # As it was typed: Path("") would be the current directory.
        config = NodeConfig(home=cast("Path", self.home))
        return (
            config.with_settings({"trust_remote_code": True}) if self.trust_remote_code else config
        )

    def open(self, *, existing: bool = False) -> "NodeContext":
        """Return the node's parts; its model is loaded when it is needed.

        Args:
            existing: for a command that only reads, or needs what was written before.

        Raises:
            NoHomeError: it must exist and does not.
        """
        from hivelearn.node.context import open_context
        from hivelearn.node.events import Event, HomeMade
        from hivelearn.store.errors import NoHomeError

        context = open_context(self.model, self.config())
        if existing and not context.home.exists:
            raise NoHomeError(context.home.path)

        def tell(event: Event) -> None:
            if isinstance(event, HomeMade):
                _say(f"A new home was made in {event.path}, for the model {context.choice.name}")

        context.events.subscribe(tell)
        return context


DomainArgument = Annotated[str, typer.Argument(help="Such as roman.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def command(
    app: typer.Typer, *, kept: str | Callable[[T], str] = NOTHING_CHANGED, name: str | None = None
) -> Callable[[Callable[[T], int]], Callable[[T], int]]:
    """Make a function of one record a command of ``app``; its docstring is the help.

    Args:
        app: where to.
        kept: what Ctrl-C leaves behind, one sentence, or who tells it for what was typed.
        name: of the command; the function's by default.
    """

    def register(run: Callable[[T], int]) -> Callable[[T], int]:
        kind = _record_of(run)

        def shell(**typed: Any) -> None:
            wanted = _build(kind, typed)
            left = kept if isinstance(kept, str) else kept(wanted)
            raise typer.Exit(exit_code_of(lambda: run(wanted), left))

        parameters = list(_parameters(kind))
        shell.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        shell.__annotations__ = {each.name: each.annotation for each in parameters}
        shell.__doc__ = run.__doc__
        app.command(name=name or run.__name__)(shell)
        return run

    return register


def exit_code_of(run: Callable[[], int], kept: str) -> int:
    """Return the exit code of ``run``; what stopped it is said on stderr, in two lines at most."""
    try:
        code = run()
        if sys.stdout is not None:  # None where the shell has closed it
            sys.stdout.flush()  # here, where a full disk can still be told
        return code
    except HivelearnError as error:
        return _failed(error, str(error), error.exit_code)
    except BrokenPipeError:
        _give_up_stdout()
        return HUNG_UP
    except (OSError, MemoryError) as error:
        _give_up_stdout()
        what = f"this machine refused: {_one_line(error)}"
        return _failed(error, f"{what}\n→ {DeviceError.remedy}", DeviceError.exit_code)
    except KeyboardInterrupt:
        _say(f"\nStopped. {kept}")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last door: a traceback is for who asks for it
        todo = f"Run it again with {DEBUG}=1, and send us what that shows."
        return _failed(error, f"a bug of ours: {_one_line(error)}\n→ {todo}", OUR_BUG)


def _failed(error: Exception, told: str, code: int) -> int:
    _say("".join(traceback.format_exception(error)) if os.environ.get(DEBUG) else told)
    return code


def _one_line(error: Exception) -> str:
    return printable(" ".join(f"{type(error).__name__}: {error}".split())[:300])


def _say(text: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):  # nobody is left to hear it
            print(text, file=sys.stderr, flush=True)


def _give_up_stdout() -> None:
    """Let what is still to be written go nowhere: Python would try it again at its end."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _record_of(run: Callable[[T], int]) -> type[T]:
    hints = get_type_hints(run)
    kind: type[T] = next(hint for name, hint in hints.items() if name != "return")
    return kind


def _typed_fields(kind: type) -> Iterator[tuple[Field[Any], Any]]:
    hints = get_type_hints(kind, include_extras=True)
    return ((field, hints[field.name]) for field in fields(kind))


def _parameters(kind: type) -> Iterator[Parameter]:
    for field, hint in _typed_fields(kind):
        if is_dataclass(hint):
            yield from _parameters(cast("type", hint))
            continue
        default = Parameter.empty if field.default is MISSING else field.default
        yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _build(kind: type[T], typed: Mapping[str, Any]) -> T:
    values = {
        field.name: _build(cast("type", hint), typed) if is_dataclass(hint) else typed[field.name]
        for field, hint in _typed_fields(kind)
    }
    return kind(**values)
