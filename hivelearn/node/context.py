"""What both stories work with: home, keys, model, settings, and the clock.

The model is opened on first need, so that a node's status can be read, and a
correction left, by a process that never loads torch.
"""

import logging
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hivelearn import identity
from hivelearn.device import sensors
from hivelearn.device.permit import DeviceLimits
from hivelearn.device.reading import Reading
from hivelearn.errors import PeerError
from hivelearn.files import DiskError
from hivelearn.inference.model_folder import resolve_model
from hivelearn.inference.prompt_loss_cache import PromptLossCache
from hivelearn.node import payloads
from hivelearn.node.config import NodeConfig
from hivelearn.patch import fingerprint
from hivelearn.store.errors import DamagedBlobError, LostAdapterError, UnknownPatchError
from hivelearn.store.generations import Served
from hivelearn.store.home import Home
from hivelearn.store.store import Store

if TYPE_CHECKING:
    from hivelearn.device.governor import Governor
    from hivelearn.device.permit import Permit
    from hivelearn.inference.engine import Engine
    from hivelearn.patch.adapter import Adapter
    from hivelearn.patch.envelope import Patch

log: Final = logging.getLogger("hivelearn.node")


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything a node reads from outside itself; tests give their own."""

    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    read: Callable[[], Reading] = sensors.read


@dataclass(eq=False)
class NodeContext:
    """One node's parts. Stations get what they need from here and nothing more."""

    folder: Path  # of the base model
    config: NodeConfig
    environment: Environment
    home: Home = field(init=False)
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        """Open the home and the keys; the model waits."""
        self.home = Home.open(self.config.home, clock=self.environment.clock)
        self.store = Store(self.home)
        self.lock = threading.RLock()
        self._adapters: dict[str, Adapter] = {}
        self._lost: set[str] = set()  # of these the log has been told
        self.prompt_losses = PromptLossCache()

    @cached_property
    def identity(self) -> identity.Identity:
        """The node's keys, made at first use."""
        return identity.open_in(self.home.path / "identity", self.environment.clock())

    @cached_property
    def base(self) -> bytes:
        """The base model's 32-byte fingerprint."""
        return fingerprint.of_folder(self.folder, self.home.path / "fingerprints.json")

    @cached_property
    def engine(self) -> "Engine":
        """The running model."""
        from hivelearn.inference.engine_table import open_engine

        with self.lock, warnings.catch_warnings():
            # transformers brings tqdm, which misses widgets in a notebook; we draw nothing with it.
            warnings.filterwarnings("ignore", message="IProgress not found")
            options = self.config.engine_options
            return open_engine(self.config.engine, self.folder, self.base, options)

    @property
    def is_open(self) -> bool:
        """Whether the model runs in this process already."""
        return "engine" in self.__dict__

    def governor(
        self,
        limits: DeviceLimits,
        on_change: "Callable[[Permit], None] | None" = None,
        sleep: Callable[[float], object] | None = None,
    ) -> "Governor":
        """Return a governor of this device; ``sleep`` may be one that somebody can end."""
        from hivelearn.device.governor import Governor

        return Governor(
            limits,
            read=self.environment.read,
            sleep=sleep or self.environment.sleep,
            monotonic=self.environment.monotonic,
            on_change=on_change,
        )

    def adapter(self, served: Served) -> "Adapter":
        """Return the adapter that a generation serves, kept in memory after the first time.

        Raises:
            DiskError: this disk has lost it; a LostAdapterError says from which domain.
        """
        key = served.payload if served.patch is None else served.patch.hex()
        with self.lock:
            if key not in self._adapters:
                try:
                    self._adapters[key] = self._read(served)
                except DiskError as error:
                    raise payloads.named(self.store, self.base, served, error) from error
            self._lost.discard(key)
            return self._adapters[key]

    def usable(self, served: Served) -> "Adapter | None":
        """Return the adapter, or None if this disk has lost it; the log hears of that once."""
        try:
            return self.adapter(served)
        except LostAdapterError as error:
            key = served.payload if served.patch is None else served.patch.hex()
            with self.lock:
                news = key not in self._lost
                self._lost.add(key)
            if news:
                log.warning("%s", error)
            return None

    def lend(self, served: Served, adapter: "Adapter") -> None:
        """Let ``served`` mean ``adapter`` before it is stored, so that it can be tried."""
        with self.lock:
            self._adapters[served.payload if served.patch is None else served.patch.hex()] = adapter

    def _read(self, served: Served) -> "Adapter":
        from hivelearn.patch.adapter import Adapter
        from hivelearn.patch.header import read

        payload = payloads.payload(self.store, served.payload)
        if served.patch is None:  # a merge of our own: its scale is 1 (merging.merge)
            return Adapter.from_bytes(payload, alpha=float(read(payload).rank), base=self.base)
        return self.patch(served.patch, payload).adapter

    def patch(self, patch: bytes, payload: bytes | None = None) -> "Patch":
        """Return a patch of the shelf, verified again from its bytes.

        Raises:
            UsageError: it is not on the shelf, or its payload is not here.
            MissingBlobError, DamagedBlobError: this disk has lost it.
        """
        from hivelearn.patch.envelope import unseal_notice
        from hivelearn.patch.notice import read_envelope

        entry = self.store.shelf.get(patch)
        if entry is None or entry.payload is None:
            raise UnknownPatchError(f"patch {patch.hex()[:8]} is not on the shelf with its payload")
        payload = payload or payloads.payload(self.store, entry.payload)
        try:
            # Time 0: what was let in does not stop serving because its offer has expired.
            notice = read_envelope(entry.envelope, now_s=0.0)
            assert notice is not None
            return unseal_notice(notice, payload)
        except PeerError as error:  # it was verified when it came in: its author did nothing
            what = f"the envelope of {patch.hex()[:8]} has changed: {error.what}"
            raise DamagedBlobError(self.home.database, what) from error


def open_context(
    model: str | Path | None, config: NodeConfig, environment: Environment | None = None
) -> NodeContext:
    """Return the context of a node on ``model`` (a path, a hub id, or None)."""
    return NodeContext(resolve_model(model), config, environment or Environment())
