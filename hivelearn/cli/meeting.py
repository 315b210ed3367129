"""Join a swarm for a while; vouch for people one knows, and see whom the node believes."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hivelearn.cli.command import DONE, Where
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
class Meeting:
    """What `join` was given."""

    domains: Annotated[list[str], typer.Argument(help="All that one wants to hear of.")]
    peer: Annotated[
        list[str] | None, typer.Option(help="host:port or hl1…@host:port; several times.")
    ] = None
    listen: Annotated[
        str | None, typer.Option(help="host:port; port 0, as by default, is any free one.")
    ] = None
    secret: Annotated[
        str | None, typer.Option(help="Closes the topics to others.", envvar="HIVELEARN_SECRET")
    ] = None
    fabric: Annotated[str, typer.Option(help="Which network.")] = "lan"
    discover: Annotated[
        bool | None, typer.Option(help="Look for peers on the local network, as by default.")
    ] = None
    wait: Annotated[float, typer.Option(min=0.0, help="Stay for so many seconds.")] = 60.0
    publish: Annotated[bool, typer.Option("--publish", help="Announce own newest patches.")] = False
    where: Where = field(default_factory=Where)


def join(meeting: Meeting) -> int:
    """Exchange patches with others for a while.

    What arrives waits for `adopt`.

    Exit code 3: nobody was met.
    """
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.context import open_context
    from hivelearn.node.share.network import Hub, Joining

    context = open_context(meeting.where.model, NodeConfig(home=meeting.where.home))
    options = {"peers": meeting.peer, "listen": meeting.listen, "discover": meeting.discover}
    how = Joining.of({"fabric": meeting.fabric, "secret": meeting.secret} | options)
    with Hub(context).join(meeting.domains, how) as swarm:
        print(f"listening on {swarm.address}", flush=True)
        if meeting.publish:
            for domain, told in _published(context, swarm):
                print(f"{domain}: {told}", flush=True)
        _stay(swarm, meeting.wait)
        met = swarm.met  # who fetched all and left was met, too
        failing = [f"{view.address}: {view.failing}" for view in swarm.peers if view.failing]
        refused = swarm.refused
    for reason in refused:
        print(f"refused {reason}")
    _tell_waiting(context, meeting.domains)
    if not met:
        raise NobodyMetError("; ".join(["nobody was met", *failing]))
    return DONE


def _published(context: "NodeContext", swarm: "Swarm") -> Iterable[tuple[str, str]]:
    """Announce the newest own patch of each domain; yield what there was to announce."""
    for domain in swarm.domains:
        own = context.store.shelf.list(state="own", domain=domain, base=context.base)
        if not own:
            yield domain, f"nothing to publish yet; `hivelearn train {domain}` makes a patch"
            continue
        newest = max(own, key=lambda entry: (entry.epoch, entry.seq))
        swarm.publish(context.patch(newest.id))
        yield domain, f"published {newest.id.hex()[:8]}"


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
        waiting = context.store.shelf.list(state="quarantined", domain=domain, base=context.base)
        if waiting:
            print(f"{domain}: {len(waiting)} in quarantine; judge with `hivelearn adopt {domain}`")


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """What `vouch` was given."""

    key: Annotated[str, typer.Argument(help="The full public key: hl1…", show_default=False)]
    note: Annotated[str, typer.Option(help="How one knows its owner.")] = ""
    where: Where = field(default_factory=Where)


def vouch(other: Acquaintance) -> int:
    """Trust the owner of a key; stays on this device."""
    from hivelearn.identity import parse_name, short_name
    from hivelearn.node import reputation
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.context import open_context

    author = parse_name(other.key)
    context = open_context(other.where.model, NodeConfig(home=other.where.home))
    reputation.vouch(context, author, other.note)
    print(f"vouched for {short_name(author)}")
    return DONE


@dataclass(frozen=True, slots=True)
class Estrangement:
    """What `unvouch` was given."""

    key: Annotated[str, typer.Argument(help="The full public key: hl1…", show_default=False)]
    where: Where = field(default_factory=Where)


def unvouch(other: Estrangement) -> int:
    """Withdraw a vouch; experts that nobody speaks for now stop serving."""
    from hivelearn.identity import parse_name, short_name
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.context import open_context
    from hivelearn.node.merge.unvouch import unvouch as withdraw

    author = parse_name(other.key)
    context = open_context(other.where.model, NodeConfig(home=other.where.home))
    changed = withdraw(context, author)
    print(f"the vouch for {short_name(author)} is withdrawn")
    for generation in changed:
        print(generation)
    return DONE


@dataclass(frozen=True, slots=True)
class Circle:
    """What `trust` was given."""

    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
    where: Where = field(default_factory=Where)


def trust(circle: Circle) -> int:
    """Tell whom the node believes, how much and why; loads no model."""
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.context import open_context
    from hivelearn.node.trust_table import read_trust

    found = read_trust(open_context(circle.where.model, NodeConfig(home=circle.where.home)))
    print(found.to_json() if circle.json else found)
    return DONE
