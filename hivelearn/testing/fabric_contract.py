"""Fabrics of one kind that can reach each other: what the contract tests of fabrics run on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hivelearn.swarm.fabric import Fabric
from hivelearn.swarm.fabrics.fabric_table import fabric_options, open_fabric
from hivelearn.swarm.fabrics.memory import MemoryNetwork

LISTEN = "127.0.0.1:0"
WAIT_S = 10.0


async def until(condition: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Wait for ``condition``; TimeoutError after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - any condition, of anything
            await asyncio.sleep(0.01)


def loopback_options(
    kind: str, network: MemoryNetwork, peers: list[str], listen: str = LISTEN
) -> Any:
    """Return the options with which a fabric of ``kind`` stays on this machine."""
    if kind == "memory":
        return fabric_options(kind, {"network": network})
    return fabric_options(kind, {"listen": listen, "peers": peers, "discover": False})


class FabricGroup:
    """Starts fabrics of one kind by name and closes them all."""

    def __init__(self, kind: str) -> None:
        """Begin empty; ``kind`` is a row of the fabric table."""
        self.kind, self.network = kind, MemoryNetwork()
        self.opened: list[Fabric] = []

    async def open(self, name: str, *others: Fabric | str, listen: str = LISTEN) -> Fabric:
        """Start a fabric whose key belongs to ``name``; it is told of ``others``."""
        told = [one if isinstance(one, str) else one.address for one in others]
        options = loopback_options(self.kind, self.network, [one for one in told if one], listen)
        return await self.start(open_fabric(self.kind, seed_of(name), options))

    async def start(self, fabric: Fabric) -> Fabric:
        """Start a fabric that was made elsewhere; it is closed with the others."""
        self.opened.append(fabric)
        await fabric.start()
        return fabric

    async def pair(self) -> tuple[Fabric, Fabric]:
        """Start two that are connected."""
        a = await self.open("a")
        b = await self.open("b", a)
        await until(lambda: a.key in b.peers() and b.key in a.peers())
        return a, b


def seed_of(name: str) -> bytes:
    """Return the device seed (32 bytes) that belongs to ``name``."""
    return name.encode().ljust(32, b".")


def run_fabrics(kind: str, test: Callable[[FabricGroup], Awaitable[None]]) -> None:
    """Run ``test`` with a group of fabrics, on a loop of its own."""

    async def main() -> None:
        group = FabricGroup(kind)
        try:
            await test(group)
        finally:
            for fabric in group.opened:
                await fabric.close()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())
