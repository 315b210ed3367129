"""`hivelearn join`: stay in a swarm for a while, and exchange patches."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hivelearn.cli.command import DONE, NodeOptions
from hivelearn.cli.meeting import MeetingOptions
from hivelearn.errors import PeerError

if TYPE_CHECKING:
    from hivelearn.node.context import NodeContext
    from hivelearn.node.share.network import Swarm

ROUND_S: Final = 20.0  # of one sync at most
BREATH_S: Final = 1.0  # between two


class NobodyMetError(PeerError):
    """No peer proved its key while we waited."""

    fault = "nobody"
    code = "peer.none"
    remedy = "Start `hivelearn join` there too, or give its address: --peer HOST:PORT."


@dataclass(frozen=True, slots=True)
class JoinCommand:
    """What `join` was given."""

    domains: Annotated[list[str], typer.Argument(help="All that one wants to hear of.")]
    wait: Annotated[float, typer.Option(min=0.0, help="Stay for so many seconds.")] = 60.0
    publish: Annotated[bool, typer.Option("--publish", help="Announce own newest patches.")] = False
    meeting: MeetingOptions = field(default_factory=MeetingOptions)
    node: NodeOptions = field(default_factory=NodeOptions)


def join(wanted: JoinCommand) -> int:
    """Exchange patches with others for a while.

    What arrives waits for `adopt`.

    Exit code 3: nobody was met.
    """
    from hivelearn.node.share.network import NodeNetwork

    context = wanted.node.open()
    with NodeNetwork(context).join(wanted.domains, wanted.meeting.how()) as swarm:
        print(f"listening on {swarm.address}", flush=True)
        if wanted.publish:
            for domain, told in _publish(context, swarm):
                print(f"{domain}: {told}", flush=True)
        _stay(swarm, wanted.wait)
        met = swarm.met  # who fetched all and left was met, too
        failing = [f"{view.address}: {view.failing}" for view in swarm.peers if view.failing]
        refused = swarm.refused
    for reason in refused:
        print(f"refused {reason}")
    _tell_waiting(context, wanted.domains)
    if not met:
        raise NobodyMetError("; ".join(["nobody was met", *failing]))
    return DONE


def _publish(context: "NodeContext", swarm: "Swarm") -> Iterable[tuple[str, str]]:
    """Announce the newest own patch of each domain; yield what there was to announce."""
    for domain in swarm.domains:
        own = context.on_shelf("own", domain)
        if not own:
            yield domain, f"nothing to publish yet; `hivelearn train {domain}` makes a patch"
            continue
        newest = max(own, key=lambda entry: (not entry.epoch, entry.arrived_s))  # as sealed
        told = swarm.publish(context.adapters.patch(newest.id))
        yield domain, f"published {told.id.hex()[:8]}"


def _stay(
    swarm: "Swarm",
    wait_s: float,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Exchange until the time is over: who leaves as soon as it has all serves nobody."""
    end_s = monotonic() + wait_s
    while (left_s := end_s - monotonic()) > 0:
        report = swarm.sync(min(left_s, ROUND_S))
        if report.accepted or report.refused:
            print(report, flush=True)
        sleep(max(0.0, min(BREATH_S, end_s - monotonic())))


def _tell_waiting(context: "NodeContext", domains: Iterable[str]) -> None:
    for domain in domains:
        waiting = context.on_shelf("quarantined", domain)
        if waiting:
            print(f"{domain}: {len(waiting)} in quarantine; judge with `hivelearn adopt {domain}`")
