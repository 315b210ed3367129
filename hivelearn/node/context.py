"""The parts of one node, opened together: home, keys, model, settings, clock, events.

The functions beneath `Node` take a context and ask it for the few parts that they
need. The model is opened on first need, so that a node's status can be read, and a
correction left, by a process that never loads torch.
"""

import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hivelearn import identity
from hivelearn.device import sensors
from hivelearn.device.limits import DeviceLimits
from hivelearn.device.permit import Permit
from hivelearn.device.reading import Reading
from hivelearn.inference.engine_table import open_engine
from hivelearn.inference.loss_cache import LossCache
from hivelearn.inference.model_folder import resolve_model
from hivelearn.node import event_log
from hivelearn.node.config import NodeConfig
from hivelearn.node.events import EventStream, PermitChanged
from hivelearn.node.served import ServedAdapters
from hivelearn.patch import fingerprint
from hivelearn.store.blobs import Blobs
from hivelearn.store.checkpoints import Checkpoints
from hivelearn.store.generations import Generation, Generations
from hivelearn.store.home import Home
from hivelearn.store.journal import Journal
from hivelearn.store.loss_file import LossFile
from hivelearn.store.offers import Offers
from hivelearn.store.shelf import Entry, Shelf, State
from hivelearn.store.store import Store

if TYPE_CHECKING:
    from hivelearn.device.governor import Governor
    from hivelearn.inference.engine import Engine


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything a node reads from outside itself; tests give their own."""

    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    read: Callable[[], Reading] = sensors.read


@dataclass(eq=False)
class NodeContext:
    """One node's parts."""

    folder: Path  # of the base model
    config: NodeConfig
    environment: Environment
    home: Home = field(init=False)
    store: Store = field(init=False)
    events: EventStream = field(default_factory=EventStream, init=False)
    losses: LossCache = field(init=False)

    def __post_init__(self) -> None:
        """Open the home; keys and model wait."""
        self._opening = threading.RLock()
        self.home = Home.open(self.config.home, clock=self.clock)
        self.store = Store(self.home)
        kept = LossFile(self.home.path / "losses.bin")
        self.losses = LossCache(kept, precision=repr(self.config.engine_options))
        self.events.subscribe(event_log.write)

    # -- who, and with which model -----------------------------------------

    @cached_property
    def identity(self) -> identity.Identity:
        """The node's keys, made at first use."""
        return identity.open_in(self.home.path / "identity", self.clock())

    @cached_property
    def base(self) -> bytes:
        """The base model's 32-byte fingerprint."""
        return fingerprint.of_folder(self.folder, self.home.path / "fingerprints.json")

    @cached_property
    def engine(self) -> "Engine":
        """The running model."""
        name, options = self.config.engine, self.config.engine_options
        with self._opening, warnings.catch_warnings():
            # transformers brings tqdm, which misses widgets in a notebook; we draw nothing with it.
            warnings.filterwarnings("ignore", message="IProgress not found")
            return open_engine(name, self.folder, lambda: self.base, options)

    @property
    def is_open(self) -> bool:
        """Whether the model runs in this process already."""
        return "engine" in self.__dict__

    @cached_property
    def adapters(self) -> ServedAdapters:
        """The adapters that answer."""
        return ServedAdapters(self.store, self.base)

    # -- what is kept ---------------------------------------------------------

    @property
    def blobs(self) -> Blobs:
        """Payloads and checkpoints, by their hash."""
        return self.store.blobs

    @property
    def checkpoints(self) -> Checkpoints:
        """What waits to go on."""
        return self.store.checkpoints

    @property
    def generations(self) -> Generations:
        """What serves, and what served before."""
        return self.store.generations

    @property
    def journal(self) -> Journal:
        """The corrections."""
        return self.store.journal

    @property
    def offers(self) -> Offers:
        """Which patch may be passed on in which topic."""
        return self.store.offers

    @property
    def shelf(self) -> Shelf:
        """The patches, own and others'."""
        return self.store.shelf

    def serving(self) -> tuple[Generation, ...]:
        """Return the current generation of every domain of this base, sorted by domain."""
        return self.generations.serving(self.base)

    def on_shelf(self, state: State, domain: str | None = None) -> tuple[Entry, ...]:
        """Return what rests in ``state`` for this base, of one domain or of all."""
        return self.shelf.list(state=state, domain=domain, base=self.base)

    # -- the world outside ----------------------------------------------------

    def clock(self) -> float:
        """Return Unix seconds."""
        return self.environment.clock()

    def governor(
        self,
        limits: DeviceLimits,
        on_change: Callable[[Permit], None] | None = None,
        *,
        domain: str | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> "Governor":
        """Return a governor of this device whose decisions become events.

        Args:
            limits: what the device must be like.
            on_change: hears of each new permit after those who listen to the events.
            domain: whose training waits for the permit; None if nobody waits.
            sleep: the environment's, or one that somebody can end.
        """
        from hivelearn.device.governor import Governor

        def tell(permit: Permit) -> None:
            self.events.publish(PermitChanged(permit, domain))
            if on_change is not None:
                on_change(permit)

        return Governor(
            limits,
            read=self.environment.read,
            sleep=sleep or self.environment.sleep,
            monotonic=self.environment.monotonic,
            on_change=tell,
        )


def open_context(
    model: str | Path | None, config: NodeConfig, environment: Environment | None = None
) -> NodeContext:
    """Return the context of a node on ``model`` (a path, a hub id, or None)."""
    return NodeContext(resolve_model(model), config, environment or Environment())
