"""See how a node stands, whether the machine is fit, and what all of it is good for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from hivelearn.cli.command import DONE, Where


@dataclass(frozen=True, slots=True)
class Look:
    """What `status` was given."""

    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
    where: Where = field(default_factory=Where)


def status(look: Look) -> int:
    """Tell how the node stands; loads no model."""
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.context import open_context
    from hivelearn.node.status import read_status

    now = read_status(open_context(look.where.model, NodeConfig(home=look.where.home)))
    print(now.to_json() if look.json else now)
    return DONE


@dataclass(frozen=True, slots=True)
class Visit:
    """What `doctor` was given."""

    where: Where = field(default_factory=Where)


def doctor(visit: Visit) -> int:
    """Check what a node needs, and say what to do.

    Exit code 4: there is a problem.
    """
    from hivelearn.cli import checks
    from hivelearn.errors import DeviceError

    found = []
    for check in checks.run(visit.where.model, visit.where.home):
        print(check, flush=True)  # one at a time: the last ones take seconds
        found.append(check)
    problems = sum(check.state == "problem" for check in found)
    print(f"{problems or 'no'} problem{'' if problems == 1 else 's'}")
    return DeviceError.exit_code if problems else DONE


@dataclass(frozen=True, slots=True)
class Show:
    """What `demo` was given."""

    seed: Annotated[int, typer.Option(help="Other seed, other questions.")] = 0
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None
    plot: Annotated[Path | None, typer.Option(help="Draw them there, a PNG.")] = None


def demo(show: Show) -> int:
    """Watch three nodes teach each other (5 minutes)."""
    from hivelearn.demo.main import run

    return run(show.seed, show.json, show.plot)
