"""`hivelearn peers`: who is there now, how far each connection came, and where it fails."""

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hivelearn.cli.command import DONE, AsJson, NodeOptions
from hivelearn.cli.meeting import MeetingOptions

if TYPE_CHECKING:
    from hivelearn.swarm.fabric import PeerView


@dataclass(frozen=True, slots=True)
class PeersCommand:
    """What `peers` was given."""

    domains: Annotated[list[str], typer.Argument(help="Whose topics to look into.")]
    wait: Annotated[float, typer.Option(min=0.0, help="Look for so many seconds.")] = 5.0
    json: AsJson = False
    meeting: MeetingOptions = field(default_factory=MeetingOptions)
    node: NodeOptions = field(default_factory=NodeOptions)


def peers(wanted: PeersCommand) -> int:
    """Look who is there, and how far each came.

    Seen, reachable, verified, or the step that fails.

    Fetches nothing on purpose; what happens to arrive waits for `adopt`.
    """
    from hivelearn.node.share.network import NodeNetwork
    from hivelearn.report.table import Table

    network = NodeNetwork(wanted.node.open())
    with network.join(wanted.domains, wanted.meeting.how()) as swarm:
        time.sleep(wanted.wait)
        rows = [_row(view) for view in swarm.peers]
    if wanted.json:
        print(json.dumps({"peers": rows}))
    else:
        print(Table.of(rows) if rows else "nobody is there: see `hivelearn doctor`, or give --peer")
    return DONE


def _row(view: "PeerView") -> dict[str, Any]:
    from hivelearn.identity import full_name

    steps = [(view.verified, "verified"), (view.reachable, "reachable"), (view.seen, "seen")]
    return {
        "address": view.address or "(it came to us)",
        "state": next((name for reached, name in steps if reached), "unknown"),
        "failing": view.failing,
        "device": full_name(view.key) if view.key else "",
    }
