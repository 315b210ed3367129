"""The parts of one node, opened together: home, keys, model, settings, clock, events.

The functions beneath `Node` take a context and ask it for the few parts that they
need. The model is opened on first need, so that a node's status can be read, and a
correction left, by a process that never loads torch.
"""

import logging
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hivelearn.device import sensors
from hivelearn.device.limits import DeviceLimits
from hivelearn.device.memory import Memory, read_memory
from hivelearn.device.permit import Permit
from hivelearn.device.reading import Reading
from hivelearn.files import DiskError
from hivelearn.identity import Identity, IdentityError
from hivelearn.inference.engine_table import open_engine
from hivelearn.inference.loss_cache import LossCache
from hivelearn.node import event_log, home_model, own_keys
from hivelearn.node.config import NodeConfig
from hivelearn.node.events import EventStream, HomeMade, LossFound, PermitChanged
from hivelearn.node.home_model import ModelChoice
from hivelearn.node.served import ServedAdapters
from hivelearn.patch import fingerprint
from hivelearn.report.progress import line_on_stderr, without_widgets
from hivelearn.store.blobs import Blobs
from hivelearn.store.checkpoints import Checkpoints
from hivelearn.store.errors import LossWarning
from hivelearn.store.generations import Generation, Generations
from hivelearn.store.home import Home
from hivelearn.store.journal import Journal
from hivelearn.store.loss_file import LossFile
from hivelearn.store.offers import Offers
from hivelearn.store.shelf import Entry, Shelf, State
from hivelearn.store.store import Store
from hivelearn.store.witness import LOSS_REMEDY, Loss

if TYPE_CHECKING:
    from hivelearn.device.governor import Governor
    from hivelearn.inference.engine import Engine

_log = logging.getLogger("hivelearn.model")


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything a node reads from outside itself; tests give their own."""

    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    read: Callable[[], Reading] = sensors.read
    memory: Callable[[], Memory] = read_memory


@dataclass(eq=False)
class NodeContext:
    """One node's parts."""

    asked: str | Path | None  # the model, as it was named
    config: NodeConfig
    environment: Environment
    home: Home = field(init=False)
    choice: ModelChoice = field(init=False)
    store: Store = field(init=False)
    events: EventStream = field(default_factory=EventStream, init=False)
    measured: LossCache = field(init=False)
    joined: set[str] = field(default_factory=set, init=False)  # domains, while this object lives

    def __post_init__(self) -> None:
        """Look at the home; keys and model wait, and what is not there is made when needed."""
        self._opening = threading.RLock()
        self.home = Home.at(self.config.home, clock=self.clock, made=self._tell_made)
        tell = line_on_stderr(self.config.progress)
        self.choice = home_model.choose(self.asked, self.home.path, tell)
        self.store = Store(self.home, lost=self._tell_lost)
        kept = LossFile(self.home.path / "measured.bin")
        self.measured = LossCache(kept, precision=repr(self.config.engine_options))
        self.events.subscribe(event_log.write)
        self.store.loss()

    # -- who, and with which model -----------------------------------------

    @cached_property
    def identity(self) -> Identity:
        """The node's keys, made at first need."""
        return own_keys.open_or_make(self.store, self.clock())

    def known_identity(self) -> Identity | None:
        """Return the node's keys if it has any; makes none."""
        found = own_keys.find(self.store, self.clock())
        return None if found is None else self.identity

    @property
    def folder(self) -> Path:
        """Where the base model lies."""
        return self.choice.folder

    @cached_property
    def base(self) -> bytes:
        """The base model's 32-byte fingerprint."""
        cache = self.home.path / "fingerprints.json"
        # A directory that is no home yet stays empty: what else lies there makes it foreign.
        return fingerprint.of_folder(self.folder, cache if self.home.exists else None)

    @cached_property
    def engine(self) -> "Engine":
        """The running model."""
        name, options = self.config.engine, self.config.engine_options
        with self._opening, without_widgets():
            engine = open_engine(name, self.folder, lambda: self.base, options)
        self.remember_model()
        return engine

    def remember_model(self) -> None:
        """Let the home, if there is one, keep the model that was named."""
        if not self.home.exists:
            return  # whoever makes it remembers
        with suppress(DiskError):  # a home that can only be read still answers
            kept = home_model.remember(self.home.path, self.choice)
            if kept != self.choice.remembered:
                self.choice = replace(self.choice, remembered=kept)
                if any(c.base != self.base for c in self.journal.list()):
                    _log.warning(
                        "this home was used with another model, and remembers %s from now on; "
                        "`--model nano` opens the nano model",
                        self.choice.name,
                    )

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
        """Return what rests in ``state`` for this base and stands alone, of a domain or of all."""
        found = self.shelf.list(state=state, domain=domain, base=self.base)
        return tuple(entry for entry in found if entry.onto is None)

    # -- the world outside ----------------------------------------------------

    def clock(self) -> float:
        """Return Unix seconds."""
        return self.environment.clock()

    def _tell_made(self, home: Path) -> None:
        self.events.publish(HomeMade(home))
        self.remember_model()
        with suppress(IdentityError):  # a full disk: they are made at the next need
            self.identity  # noqa: B018 - whoever has a home has a name to give to friends

    def _tell_lost(self, loss: Loss) -> None:
        told = f"{loss}. {LOSS_REMEDY.format(path=self.store.losses.path)}"
        warnings.warn(told, LossWarning, stacklevel=2)
        self.events.publish(LossFound(loss))

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
    """Return the context of a node on ``model`` (a path, a hub id, a name, or None).

    None is the model that the home remembers, else the nano model.
    """
    return NodeContext(model, config, environment or Environment())
