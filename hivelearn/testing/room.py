"""Fabrics of one kind that can reach each other: what the contract tests run in."""

import asyncio
from collections.abc import Awaitable, Callable

from hivelearn.swarm.fabric import Fabric, FabricConfig, open_fabric
from hivelearn.swarm.fabrics.memory import MemoryNetwork

LISTEN = "127.0.0.1:0"
WAIT_S = 10.0


async def until(condition: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Wait for ``condition``; TimeoutError after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - any condition, of anything
            await asyncio.sleep(0.01)


class Room:
    """Starts fabrics by name and closes them all."""

    def __init__(self, kind: str) -> None:
        """Begin empty; ``kind`` is a row of the fabric table."""
        self.kind, self.network = kind, MemoryNetwork()
        self.opened: list[Fabric] = []

    async def open(self, name: str, *others: Fabric | str, listen: str = LISTEN) -> Fabric:
        """Start a fabric whose key belongs to ``name``; it is told of ``others``."""
        told = [one if isinstance(one, str) else one.address for one in others]
        config = FabricConfig(
            listen=listen, peers=[one for one in told if one], discover=False, network=self.network
        )
        fabric = open_fabric(self.kind, name.encode().ljust(32, b"."), config)
        self.opened.append(fabric)
        await fabric.start()
        return fabric

    async def pair(self) -> tuple[Fabric, Fabric]:
        """Start two that are connected."""
        a = await self.open("a")
        b = await self.open("b", a)
        await until(lambda: a.key in b.peers() and b.key in a.peers())
        return a, b


def run_room(kind: str, test: Callable[[Room], Awaitable[None]]) -> None:
    """Run ``test`` in a room on a loop of its own."""

    async def main() -> None:
        room = Room(kind)
        try:
            await test(room)
        finally:
            for fabric in room.opened:
                await fabric.close()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())
