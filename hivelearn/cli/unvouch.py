"""`hivelearn unvouch`: withdraw a vouch."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from hivelearn.cli.command import DONE, NodeOptions


@dataclass(frozen=True, slots=True)
class UnvouchCommand:
    """What `unvouch` was given."""

    key: Annotated[str, typer.Argument(help="The full public key: hl1…", show_default=False)]
    node: NodeOptions = field(default_factory=NodeOptions)


def unvouch(wanted: UnvouchCommand) -> int:
    """Withdraw a vouch.

    Experts that nobody speaks for now stop serving.
    """
    from hivelearn.identity import parse_name, short_name
    from hivelearn.node import unvouch

    author = parse_name(wanted.key)
    changed = unvouch.unvouch(wanted.node.open(existing=True), author)
    print(f"the vouch for {short_name(author)} is withdrawn")
    for generation in changed:
        print(generation)
    return DONE
