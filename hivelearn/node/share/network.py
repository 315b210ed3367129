"""One network for one node: opened by the first `join`, closed by the last.

The handle that `join` returns is a share of it. Inside a joined block this
process is the home's writer, because patches arrive whenever they like.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from hivelearn.bounds import FLAG, NONE, TEXT, Rule, check_names, check_record, many
from hivelearn.errors import UsageError
from hivelearn.node.context import NodeContext
from hivelearn.node.events import PeerDown, PeerUp
from hivelearn.node.share.library import Library
from hivelearn.store.correction import check_domain

if TYPE_CHECKING:
    from hivelearn.patch.envelope import Patch
    from hivelearn.swarm.fabric import PeerView
    from hivelearn.swarm.runner import SwarmRunner, SyncReport

RULES: Final[Mapping[str, Rule]] = {
    "fabric": NONE | TEXT,
    "secret": NONE | TEXT,
    "peers": many(TEXT, "a list of addresses, as text"),
    "listen": NONE | TEXT,
    "discover": NONE | FLAG,
}


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """How to meet others. What is None is as the network is already, else by default."""

    fabric: str | None = None  # "lan"
    secret: str | None = None
    peers: tuple[str, ...] = ()
    listen: str | None = None  # any free port, on all of the machine's addresses
    discover: bool | None = None  # yes

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the record of settings given by name.

        Raises:
            UsageError: a setting that does not exist, or is of the wrong kind.
        """
        check_names(RULES, settings, what="joining")
        peers = settings.get("peers") or ()
        peers = (peers,) if isinstance(peers, str) else tuple(peers)
        return cls(**{**settings, "peers": peers})

    def __post_init__(self) -> None:
        """Refuse what is of the wrong kind."""
        check_record(RULES, self)

    def clash(self, other: "JoinOptions") -> str | None:
        """Return the first setting that a second join states otherwise than the network is."""
        for name in ("fabric", "listen", "discover"):
            stated = getattr(other, name)
            if stated is not None and stated != getattr(self, name):
                return name
        return None


class NodeNetwork:
    """A node's one fabric, with the shares that keep it open."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._lock = threading.RLock()
        self._shares: list[Swarm] = []
        self._how: JoinOptions | None = None
        self._open = ExitStack()
        self.library = Library(context)
        self.runner: SwarmRunner | None = None

    def join(self, domains: Sequence[str], how: JoinOptions) -> "Swarm":
        """Return a handle on the topics of ``domains``; see ``Node.join``."""
        from hivelearn.swarm import topics

        if not domains or not all(isinstance(domain, str) for domain in domains):
            raise UsageError(
                "join needs domains, each by its name",
                remedy='Such as node.join("roman", "iso-date").',
            )
        for domain in domains:
            check_domain(domain)
        joined = {d: topics.topic(self._context.base, d, how.secret or "") for d in domains}
        with self._lock, ExitStack() as undo:
            runner = self._started(how)
            swarm = Swarm(self, joined)
            self._shares.append(swarm)
            undo.callback(self.leave, swarm)  # unless it all comes to pass
            for domain, topic in joined.items():
                self.library.open(topic, domain)
                runner.join(topic)
            undo.pop_all()
        return swarm

    def _started(self, how: JoinOptions) -> "SwarmRunner":
        from hivelearn.swarm.fabric import FabricConfig, open_fabric
        from hivelearn.swarm.runner import SwarmRunner

        if self.runner is not None:
            assert self._how is not None
            if (other := self._how.clash(how)) is not None:
                raise UsageError(
                    f"this node has a network already, with {other}={getattr(self._how, other)!r}",
                    remedy=f"A node has one network: leave {other} out, or close the other join.",
                )
            self.runner.meet(how.peers)
            return self.runner
        wanted = FabricConfig()
        how = replace(
            how,
            fabric=how.fabric or "lan",
            listen=how.listen or wanted.listen,
            discover=wanted.discover if how.discover is None else how.discover,
        )
        fabric, seed = str(how.fabric), self._context.identity.device_seed
        wanted = FabricConfig(str(how.listen), how.peers, bool(how.discover))
        with ExitStack() as opening:
            opening.enter_context(self._context.store.writing("join the swarm"))
            runner = SwarmRunner(
                lambda: open_fabric(fabric, seed, wanted),
                self.library,
                clock=self._context.clock,
                rng_seed=int.from_bytes(self._context.identity.device[:4], "big"),
            )
            runner.start()
            opening.callback(runner.close)
            self._open = opening.pop_all()
        self.runner, self._how = runner, how
        return runner

    def hear(self, peer: bytes, *, up: bool) -> None:
        """Tell that a verified peer came or went; called from the swarm's thread."""
        self._context.events.publish(PeerUp(peer) if up else PeerDown(peer))

    def has(self, share: "Swarm") -> bool:
        """Return whether ``share`` is one of the network that is open now."""
        return share in self._shares

    def leave(self, share: "Swarm") -> None:
        """Take one share back, with the topics that no other has; the last closes the network."""
        with self._lock:
            if share not in self._shares:
                return
            self._shares.remove(share)
            if not self._shares:
                self.close()
            kept = {topic for other in self._shares for topic in other.topics.values()}
            for topic in share.topics.values():
                if topic not in kept:
                    self.library.close(topic)
                    if self.runner is not None:
                        self.runner.leave(topic)

    def close(self) -> None:
        """Close the network whoever still uses it."""
        with self._lock:
            for share in self._shares:
                for topic in share.topics.values():
                    self.library.close(topic)
            self._shares, self.runner, self._how = [], None, None
            self._open.close()


class Swarm:
    """A share of the node's network; use it in a ``with`` block or close it."""

    def __init__(self, hub: NodeNetwork, topics: dict[str, bytes]) -> None:
        self._hub, self.topics = hub, topics  # domain -> topic
        self.domains = tuple(topics)

    def __repr__(self) -> str:
        """Tell the topics and how many verified peers there are."""
        verified = sum(peer.verified for peer in self.peers) if self._hub.has(self) else 0
        return f"Swarm({', '.join(self.domains)}; {verified} verified peers)"

    def _runner(self) -> "SwarmRunner":
        if self._hub.runner is None or not self._hub.has(self):
            raise UsageError("this swarm is closed", remedy="Join again: node.join(...).")
        return self._hub.runner

    def publish(self, patch: "Patch") -> None:
        """Announce a patch; its payload follows to whoever asks, here and at every later join."""
        topic = self.topics.get(patch.domain)
        if topic is None:
            raise UsageError(
                f"the patch is about {patch.domain!r}, which this swarm has not joined",
                remedy=f"node.join({patch.domain!r}, ...) and publish there.",
            )
        runner = self._runner()
        self._hub.library.publish(topic, patch)
        runner.publish(topic, patch.envelope)

    def sync(self, wait_s: float = 60.0) -> "SyncReport":
        """Exchange what is known until nothing new came for a while, at most ``wait_s``.

        What arrives rests in quarantine; ``node.merge(domain)`` judges it.
        """
        return self._runner().sync(wait_s)

    @property
    def peers(self) -> "tuple[PeerView, ...]":
        """Every peer with how far it got: seen, reachable, verified, and the failing step."""
        return tuple(self._runner().peers())

    @property
    def met(self) -> tuple[bytes, ...]:
        """Device keys of all peers that were verified since the network opened, gone or not."""
        return tuple(self._runner().met())

    @property
    def address(self) -> str:
        """Where others can reach this node: ``hl1…@host:port``; empty without an address."""
        return self._runner().address

    @property
    def refused(self) -> tuple[str, ...]:
        """What was refused at the door, a sentence each."""
        return tuple(self._hub.library.refused)

    def close(self) -> None:
        """Leave; the network closes with its last user. May be called twice."""
        self._hub.leave(self)

    def __enter__(self) -> Self:
        """Use the swarm in a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it."""
        self.close()
