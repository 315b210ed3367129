"""What the two halves of a member share: fabric, store, time, tasks, stats and events."""

import asyncio
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from hivelearn.errors import HivelearnError, PeerError
from hivelearn.patch.notice import Notice, claimed_id, read_envelope
from hivelearn.swarm import messages
from hivelearn.swarm.events import Observer, SwarmEvent, ignore
from hivelearn.swarm.fabric import POST_MAX_BYTES, Fabric
from hivelearn.swarm.limits import SwarmLimits
from hivelearn.swarm.patch_store import PatchStore
from hivelearn.swarm.stats import SwarmStats
from hivelearn.swarm.told import Told

_log: Final = logging.getLogger("hivelearn.swarm")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MemberConfig:
    """Time, chance and limits of one member, given from outside."""

    unix_s: Callable[[], float] = time.time  # for certificates only, never for order
    seed: int = 0  # order of chunks and spread of syncs
    nonce: Callable[[int], bytes] = os.urandom  # session nonces: must not be guessed
    limits: SwarmLimits = field(default_factory=SwarmLimits)
    offload: Callable[..., Awaitable[Any]] = asyncio.to_thread  # for disk and hashing
    observe: Observer = ignore  # told what happened, in the swarm's loop


class SwarmContext:
    """One member's ties to the world."""

    def __init__(self, fabric: Fabric, store: PatchStore, config: MemberConfig) -> None:
        """Bind them together."""
        self.fabric, self.store, self.config = fabric, store, config
        self.stats = SwarmStats()
        self.topics: set[bytes] = set()  # joined now
        self.told = Told(self._both_in)
        self.rng = random.Random(config.seed)
        self._tasks: set[asyncio.Task[None]] = set()

    def read(self, envelope: bytes) -> Notice | None:
        """Verify an envelope. Raises PeerError."""
        return read_envelope(envelope, now_s=self.config.unix_s())

    def now(self) -> float:
        """Return the loop's monotonic seconds."""
        return asyncio.get_running_loop().time()

    def emit(self, event: SwarmEvent) -> None:
        """Count what happened and tell the observer, who can break nothing here."""
        self.stats.count(event)
        try:
            self.config.observe(event)
        except Exception as error:  # noqa: BLE001 - logged with its trace, and told by `sync`
            self.fail("an observer failed", error)

    async def post(self, topic: bytes, message: messages.WireMessage) -> None:
        """Publish, unless it is too large for a post; then it travels by sync alone."""
        frame = messages.encode(message)
        if len(frame) > POST_MAX_BYTES:
            return
        match message:
            case messages.Announce(envelope):
                self._tell_all(topic, claimed_id(envelope))
            case messages.Have(patch):
                self._tell_all(topic, patch)
            case _:
                pass
        await self.fabric.publish(topic, frame)

    def _tell_all(self, topic: bytes, patch: bytes) -> None:
        for peer in self.fabric.peers():
            if self._both_in(peer, topic):
                self.told.tell(peer, topic, [patch])

    def _both_in(self, peer: bytes, topic: bytes) -> bool:
        return topic in self.topics and self.fabric.in_topic(peer, topic)

    async def ask(self, function: Callable[..., T], *arguments: object) -> T | None:
        """Call the store in a worker thread; None if it failed, which is recorded.

        A store that is locked or full for a moment must not make the node deaf.
        """
        try:
            answer: T = await self.config.offload(function, *arguments)
        except Exception as error:  # noqa: BLE001 - logged with its trace, and told by `sync`
            self.fail("the patch store failed", error)
            return None
        return answer

    def fail(self, what: str, error: BaseException) -> None:
        """Record a failure of this node itself, never silent."""
        self.stats.failures.append(f"{what}: {type(error).__name__}: {error}")
        _log.error(what, exc_info=error)

    async def blame(self, peer: bytes, code: str) -> None:
        """Note that ``peer`` relayed what does not verify."""
        await self.ask(self.store.blame, peer, code)

    async def blame_for(self, peer: bytes, error: HivelearnError) -> None:
        """Blame ``peer`` if ``error`` is a relay's fault."""
        if isinstance(error, PeerError) and error.fault == "relay":
            await self.blame(peer, error.code)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` beside; its failure is recorded, never silent."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """End all tasks, then the fabric. May be called twice."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.fabric.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail("a part of the swarm stopped", error)
