"""One network for one node: opened by the first `join`, closed by the last.

The handle that `join` returns is a share of it. Inside a joined block this
process is the home's writer, because patches arrive whenever they like.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from hivelearn.errors import UsageError
from hivelearn.node.library import Library
from hivelearn.node.workbench import Workbench
from hivelearn.store.correction import check_domain

if TYPE_CHECKING:
    from hivelearn.patch.envelope import Patch
    from hivelearn.swarm.fabric import PeerView
    from hivelearn.swarm.runner import SwarmRunner, SyncReport


@dataclass(frozen=True, slots=True)
class Joining:
    """How to meet others."""

    fabric: str = "lan"
    secret: str | None = None
    peers: tuple[str, ...] = ()
    listen: str = "127.0.0.1:0"
    discover: bool = True


class Hub:
    """A node's one fabric, counted by its users."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._lock = threading.RLock()
        self._users = 0
        self._how: Joining | None = None
        self._open = ExitStack()
        self.library = Library(bench)
        self.runner: SwarmRunner | None = None

    def join(self, domains: Sequence[str], how: Joining) -> "Swarm":
        """Return a handle on the topics of ``domains``; see ``Node.join``."""
        from hivelearn.swarm import topics

        if not domains:
            raise UsageError(
                "join needs a domain", remedy='Such as node.join("roman", "iso-date").'
            )
        for domain in domains:
            check_domain(domain)
        with self._lock:
            runner = self._started(how)
            self._users += 1
            joined = {d: topics.topic(self._bench.base, d, how.secret or "") for d in domains}
            for domain, topic in joined.items():
                self.library.open(topic, domain)
                runner.join(topic)
            return Swarm(self, joined)

    def _started(self, how: Joining) -> "SwarmRunner":
        from hivelearn.swarm.fabric import FabricConfig, open_fabric
        from hivelearn.swarm.runner import SwarmRunner

        if self.runner is not None:
            assert self._how is not None
            if (how.fabric, how.listen) != (self._how.fabric, self._how.listen):
                raise UsageError(
                    f"this node is on the {self._how.fabric!r} fabric already",
                    remedy="Close the other join first; a node has one fabric at a time.",
                )
            return self.runner
        with ExitStack() as opening:
            opening.enter_context(self._bench.store.writing("join the swarm"))
            seed = self._bench.identity.device_seed
            wanted = FabricConfig(how.listen, how.peers, how.discover)
            runner = SwarmRunner(
                lambda: open_fabric(how.fabric, seed, wanted),
                self.library,
                clock=self._bench.world.clock,
                rng_seed=int.from_bytes(self._bench.identity.device[:4], "big"),
            )
            runner.start()
            opening.callback(runner.close)
            self._open = opening.pop_all()
        self.runner, self._how = runner, how
        return runner

    def leave(self) -> None:
        """Give one share back; the last one closes the network."""
        with self._lock:
            self._users -= 1
            if self._users <= 0:
                self.close()

    def close(self) -> None:
        """Close the network whoever still uses it."""
        with self._lock:
            self._users, self.runner, self._how = 0, None, None
            self._open.close()


class Swarm:
    """A share of the node's network; use it in a ``with`` block or close it."""

    def __init__(self, hub: Hub, topics: dict[str, bytes]) -> None:
        self._hub, self._topics = hub, topics
        self.domains = tuple(topics)
        self._closed = False

    def __repr__(self) -> str:
        """Tell the topics and how many verified peers there are."""
        verified = 0 if self._closed else sum(peer.verified for peer in self.peers)
        return f"Swarm({', '.join(self.domains)}; {verified} verified peers)"

    def _runner(self) -> "SwarmRunner":
        if self._closed or self._hub.runner is None:
            raise UsageError("this swarm is closed", remedy="Join again: node.join(...).")
        return self._hub.runner

    def publish(self, patch: "Patch") -> None:
        """Announce a patch; its payload follows to whoever asks, here and at every later join."""
        topic = self._topics.get(patch.domain)
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
    def address(self) -> str:
        """Where others can reach this node: ``hl1…@host:port``; empty without an address."""
        return self._runner().address

    @property
    def refused(self) -> tuple[str, ...]:
        """What was refused at the door, a sentence each."""
        return tuple(self._hub.library.refused)

    def close(self) -> None:
        """Leave; the network closes with its last user. May be called twice."""
        if not self._closed:
            self._closed = True
            self._hub.leave()

    def __enter__(self) -> Self:
        """Use the swarm in a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it."""
        self.close()
