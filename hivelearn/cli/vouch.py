"""`hivelearn vouch`: trust the owner of a key."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from hivelearn.cli.command import DONE, NodeOptions


@dataclass(frozen=True, slots=True)
class VouchCommand:
    """What `vouch` was given."""

    key: Annotated[str, typer.Argument(help="The full public key: hl1…", show_default=False)]
    note: Annotated[str, typer.Option(help="How one knows its owner.")] = ""
    node: NodeOptions = field(default_factory=NodeOptions)


def vouch(wanted: VouchCommand) -> int:
    """Trust the owner of a key; stays on this device."""
    from hivelearn.identity import parse_name, short_name
    from hivelearn.node import reputation

    author = parse_name(wanted.key)
    context = wanted.node.open()
    reputation.vouch(context, author, wanted.note)
    print(f"vouched for {short_name(author)}")
    return DONE
