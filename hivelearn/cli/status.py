"""`hivelearn status`: how the node stands."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from hivelearn.cli.command import DONE, NodeOptions


@dataclass(frozen=True, slots=True)
class StatusCommand:
    """What `status` was given."""

    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
    node: NodeOptions = field(default_factory=NodeOptions)


def status(wanted: StatusCommand) -> int:
    """Tell how the node stands; loads no model."""
    from hivelearn.node.status import read_status

    now = read_status(wanted.node.open(existing=True))
    print(now.to_json() if wanted.json else now)
    return DONE
