"""One network for one node: opened by the first `join`, closed by the last.

The handle that `join` returns is a share of it. Inside a joined block this
process is the home's writer, because patches arrive whenever they like.
"""

import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from hivelearn.bounds import NONE, TEXT, Rule, a, check, check_record, real
from hivelearn.errors import UsageError
from hivelearn.node.context import NodeContext
from hivelearn.node.share.library import Library
from hivelearn.store.correction import check_domain
from hivelearn.swarm.events import PeerDown, PeerUp, SwarmEvent
from hivelearn.swarm.fabric import OPEN_S
from hivelearn.swarm.fabrics.fabric_table import PEERS, fabric_options, open_fabric

if TYPE_CHECKING:
    from hivelearn.patch.envelope import Patch
    from hivelearn.swarm.fabric import Handler, PeerView, Stream
    from hivelearn.swarm.runner import SwarmRunner
    from hivelearn.swarm.sync_report import SyncReport

DEFAULT_FABRIC: Final = "lan"
T = TypeVar("T")

RULES: Final[Mapping[str, Rule]] = {
    "fabric": NONE | TEXT,
    "secret": NONE | TEXT,
    "options": a(Mapping, "the options of the fabric, by name"),
}


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """How to meet others. What is None is as the network is already, else by default."""

    fabric: str | None = None  # "lan"
    secret: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # of the fabric: those stated

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the record of settings given by name; None and no peers are not stated.

        Raises:
            UsageError: fabric or secret is of the wrong kind, or the stated fabric has
                no such option. Where none is stated, `NodeNetwork.join` looks at the options.
        """
        stated = {name: value for name, value in settings.items() if value not in (None, (), [])}
        return cls(stated.pop("fabric", None), stated.pop("secret", None), stated)

    def __post_init__(self) -> None:
        """Refuse what is of the wrong kind."""
        check_record(RULES, self)
        if self.secret == "":
            raise UsageError(
                "an empty secret closes nothing",
                remedy="Give one that others cannot guess, or none.",
            )
        if self.fabric is not None:
            fabric_options(self.fabric, self.options)

    def clash(self, fabric: str, options: Any) -> str | None:
        """Return the first setting stated otherwise than the network with ``options`` is."""
        if self.fabric not in (None, fabric):
            return "fabric"
        wanted = fabric_options(fabric, self.options)
        for name in self.options:
            if name != PEERS and getattr(wanted, name) != getattr(options, name):
                return name
        return None


class NodeNetwork:
    """A node's one fabric, with the shares that keep it open."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._lock = threading.RLock()
        self._shares: list[Swarm] = []
        self._network: tuple[str, Any] | None = None  # fabric, its options
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
        secret = how.secret or ""
        joined = {d: topics.topic(self._context.base, d, secret) for d in domains}
        with self._lock, ExitStack() as undo:
            runner = self._started(how)
            swarm = Swarm(self, joined)
            self._shares.append(swarm)
            undo.callback(self.leave, swarm)  # unless it all comes to pass
            for domain, topic in joined.items():
                self.library.open(topic, domain, topics.swarm(secret))
                runner.join(topic)
            undo.pop_all()
        self._context.joined.update(joined)
        return swarm

    def _started(self, how: JoinOptions) -> "SwarmRunner":
        from hivelearn.swarm.runner import SwarmRunner

        if self.runner is not None:
            self._meet(self.runner, how)
            return self.runner
        fabric, seed = how.fabric or DEFAULT_FABRIC, self._context.identity.device_seed
        options = fabric_options(fabric, how.options)
        with ExitStack() as opening:
            opening.enter_context(self._context.store.writing("join the swarm"))
            runner = SwarmRunner(
                lambda: open_fabric(fabric, seed, options),
                self.library,
                clock=self._context.clock,
                observe=self._hear,
                rng_seed=int.from_bytes(self._context.identity.device[:4], "big"),
            )
            runner.start()
            opening.callback(runner.close)
            self._open = opening.pop_all()
        self.runner, self._network = runner, (fabric, options)
        return runner

    def _meet(self, runner: "SwarmRunner", how: JoinOptions) -> None:
        """Look for the peers of a second join, too; refuse what it states otherwise."""
        assert self._network is not None
        fabric, options = self._network
        if (other := how.clash(fabric, options)) is not None:
            is_now = fabric if other == "fabric" else getattr(options, other)
            raise UsageError(
                f"this node has a network already, with {other}={is_now!r}",
                remedy=f"A node has one network: leave {other} out, or close the other join.",
            )
        runner.meet(getattr(fabric_options(fabric, how.options), PEERS, ()))

    def _hear(self, event: SwarmEvent) -> None:
        """Pass on who came and went; of patches the library tells, which knows more of them."""
        if isinstance(event, PeerUp | PeerDown):
            self._context.events.publish(event)

    def met(self) -> tuple[bytes, ...]:
        """Return the device keys of all peers that were verified since the network opened."""
        return tuple(self.runner.met()) if self.runner is not None else ()

    @property
    def shares(self) -> "tuple[Swarm, ...]":
        """The swarms that are joined now."""
        return tuple(self._shares)

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
            self._shares, self.runner, self._network = [], None, None
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

    def publish(self, patch: "Patch") -> "Patch":
        """Announce a patch; its payload follows to members who ask, here and at every later join.

        Returns:
            The patch as this swarm sees it. An own one is signed again for each swarm, so
            that nothing in one names anything in another: its id there is this one's.
        """
        from hivelearn.patch.envelope import Patch

        check({"patch": a(Patch, "a sealed patch, as node.train returns it")}, {"patch": patch})
        topic = self.topics.get(patch.domain)
        if topic is None:
            raise UsageError(
                f"the patch is about {patch.domain!r}, which this swarm has not joined",
                remedy=f"node.join({patch.domain!r}, ...) and publish there.",
            )
        runner = self._runner()
        told = self._hub.library.publish(topic, patch)
        runner.publish(topic, told.envelope)
        return told

    def sync(self, wait_s: float = 60.0) -> "SyncReport":
        """Exchange what is known until nothing new came for a while, at most ``wait_s``.

        What arrives rests in quarantine; ``node.merge(domain)`` judges it.
        """
        check({"wait_s": real(0.0)}, {"wait_s": wait_s})
        return self._runner().sync(wait_s)

    def handle(self, protocol: str, handler: "Handler") -> None:
        """Serve the streams of another protocol on the node's network until that closes.

        ``await handler(peer, stream)`` runs in the swarm's own loop, once for each
        stream; it gives long work to ``asyncio.to_thread``. What it raises resets its
        stream and nothing else. A later handler of the protocol takes its place.

        Raises:
            UsageError: the protocol is one of the swarm's own.
        """
        self._runner().handle(protocol, handler)

    async def open_stream(
        self, peer: bytes, protocol: str, *, timeout_s: float = OPEN_S
    ) -> "Stream":
        """Open a stream to a peer; streams live in the swarm's loop, so there it is awaited.

        A handler awaits it where it stands, any other thread by :meth:`run`.

        Raises:
            UnreachableError: no verified connection to the peer within ``timeout_s``.
            UsageError: the protocol is one of the swarm's own.
        """
        return await self._runner().open_stream(peer, protocol, timeout_s=timeout_s)

    def run(self, work: "Coroutine[Any, Any, T]", timeout_s: float | None = None) -> T:
        """Run a coroutine in the swarm's loop from any other thread and return its result.

        Such as ``swarm.run(ask(swarm, peer))`` with an ``async def ask`` that opens a
        stream, sends and receives.
        """
        try:
            runner = self._runner()
        except UsageError:
            work.close()
            raise
        return runner.run(work, timeout_s)

    @property
    def peers(self) -> "tuple[PeerView, ...]":
        """Every peer with how far it got: seen, reachable, verified, and the failing step."""
        return tuple(self._runner().peers())

    @property
    def met(self) -> tuple[bytes, ...]:
        """Device keys of all peers that were verified since the network opened, gone or not."""
        self._runner()  # refuses a closed one
        return self._hub.met()

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
