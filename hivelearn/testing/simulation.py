"""Whole swarm members on one memory network in virtual time, with delays and losses."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hivelearn.patch.notice import Notice
from hivelearn.swarm.context import MemberConfig
from hivelearn.swarm.events import Observer, SwarmEvent
from hivelearn.swarm.fabric import Fabric
from hivelearn.swarm.fabrics.fabric_table import open_fabric
from hivelearn.swarm.fabrics.memory import MemoryOptions
from hivelearn.swarm.member import Member
from hivelearn.testing.clock import ManualClock, run_virtual
from hivelearn.testing.fabric_contract import seed_of
from hivelearn.testing.folder_store import FolderStore, author, notice_of
from hivelearn.testing.network_conditions import memory_network

TOPIC = b"t" * 32


async def inline(function: Callable[..., Any], *arguments: object) -> Any:
    """Run ``function`` here: virtual time knows no worker threads."""
    return function(*arguments)


class Simulation:
    """Members that share one network; the seed decides everything that happens."""

    def __init__(self, folder: Path, *, latency_s: float = 0.0, loss: float = 0.0) -> None:
        """Keep the members' stores in ``folder``."""
        self.network, self.conditions = memory_network(seed=3, latency_s=latency_s, loss=loss)
        self.members: dict[str, Member] = {}
        self.events: dict[str, list[SwarmEvent]] = {}  # by member, as they happened
        self._folder = folder

    async def add(self, name: str, *topics: bytes, observe: Observer | None = None) -> Member:
        """Start a member that joins ``topics`` (``TOPIC`` if none is given)."""
        seed, events = len(self.members), self.events.setdefault(name, [])
        config = MemberConfig(
            unix_s=ManualClock(),
            seed=seed,
            nonce=random.Random(seed).randbytes,
            offload=inline,
            observe=observe or events.append,
        )
        store = FolderStore(self._folder / name)
        member = self.members[name] = Member(self.fabric(name), store, config)
        await member.start()
        for topic in topics or (TOPIC,):
            await member.join(topic)
        return member

    def fabric(self, name: str) -> Fabric:
        """Return a bare fabric on the same network, not yet started."""
        return open_fabric("memory", seed_of(name), MemoryOptions(self.network))

    async def close(self) -> None:
        """Close every member."""
        for member in self.members.values():
            await member.close()


def run_simulation(
    folder: Path,
    test: Callable[[Simulation], Awaitable[None]],
    *,
    latency_s: float = 0.0,
    loss: float = 0.0,
) -> None:
    """Run ``test`` in a simulation, in virtual time."""

    async def main() -> None:
        sim = Simulation(folder, latency_s=latency_s, loss=loss)
        try:
            await test(sim)
        finally:
            await sim.close()

    run_virtual(main())


async def within(seconds: float, condition: Callable[[], bool]) -> None:
    """Let virtual time pass until ``condition``; TimeoutError after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - any condition, in virtual time
            await asyncio.sleep(0.05)


def give(member: Member, payload: bytes, **claims: Any) -> Notice:
    """Let a member hold a patch that was signed by "alice"; ``claims`` as in ``notice_of``."""
    notice = notice_of(payload, author("alice"), **claims)
    assert isinstance(member.store, FolderStore)
    member.store.put(notice, payload)
    return notice


def has(member: Member, notice: Notice) -> bool:
    """Return whether a member holds a patch."""
    return member.store.payload(notice.id, [TOPIC]) is not None
