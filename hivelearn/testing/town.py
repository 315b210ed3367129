"""Whole swarm members on one memory network in virtual time, with weather."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hivelearn.patch.notice import Notice
from hivelearn.swarm.fabric import Fabric, FabricConfig, open_fabric
from hivelearn.swarm.limits import Limits
from hivelearn.swarm.member import Member
from hivelearn.swarm.shell import Setting
from hivelearn.testing.clock import HandClock, run_virtual
from hivelearn.testing.network import network
from hivelearn.testing.shelf import FolderLibrary, author, notice_of

TOPIC = b"t" * 32


async def inline(function: Callable[..., Any], *arguments: object) -> Any:
    """Run ``function`` here: virtual time knows no worker threads."""
    return function(*arguments)


class Town:
    """Members that share one network; the seed decides everything that happens."""

    def __init__(self, folder: Path, *, latency_s: float = 0.0, loss: float = 0.0) -> None:
        """Keep the members' shelves in ``folder``."""
        self.network, self.weather = network(seed=3, latency_s=latency_s, loss=loss)
        self.members: dict[str, Member] = {}
        self.shelves: dict[str, FolderLibrary] = {}
        self._folder = folder

    async def add(self, name: str, *topics: bytes) -> Member:
        """Start a member that joins ``topics`` (``TOPIC`` if none is given)."""
        self.shelves[name] = FolderLibrary(self._folder / name)
        seed = len(self.members)
        nonce = random.Random(seed).randbytes
        setting = Setting(HandClock(), seed, nonce, Limits(), inline)
        member = self.members[name] = Member(self.fabric(name), self.shelves[name], setting)
        await member.start()
        for topic in topics or (TOPIC,):
            await member.join(topic)
        return member

    def fabric(self, name: str) -> Fabric:
        """Return a bare fabric on the same network, not yet started."""
        seed = name.encode().ljust(32, b".")
        return open_fabric("memory", seed, FabricConfig(network=self.network))

    async def close(self) -> None:
        """Close every member."""
        for member in self.members.values():
            await member.close()


def run_town(
    folder: Path,
    test: Callable[[Town], Awaitable[None]],
    *,
    latency_s: float = 0.0,
    loss: float = 0.0,
) -> None:
    """Run ``test`` in a town, in virtual time."""

    async def main() -> None:
        town = Town(folder, latency_s=latency_s, loss=loss)
        try:
            await test(town)
        finally:
            await town.close()

    run_virtual(main())


async def within(seconds: float, condition: Callable[[], bool]) -> None:
    """Let virtual time pass until ``condition``; TimeoutError after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - any condition, in virtual time
            await asyncio.sleep(0.05)


def give(member: Member, payload: bytes, **claims: Any) -> Notice:
    """Let a member hold a patch that was signed by "alice"; ``claims`` as in ``notice_of``."""
    notice = notice_of(payload, author("alice"), **claims)
    assert isinstance(member.library, FolderLibrary)
    member.library.put(notice, payload)
    return notice


def has(member: Member, notice: Notice) -> bool:
    """Return whether a member holds a patch."""
    return member.library.payload(notice.id) is not None
