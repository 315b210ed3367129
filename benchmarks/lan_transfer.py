"""A payload across the LAN fabric on loopback, and the same bytes over bare asyncio TCP."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

import torch

from hivelearn import identity
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Label, Patch, seal
from hivelearn.patch.notice import Notice
from hivelearn.swarm import topics
from hivelearn.swarm.fabrics.lan import open_lan
from hivelearn.swarm.fabrics.lan_options import LanOptions
from hivelearn.swarm.runner import SwarmRunner

WIDTH, RANK = 4_096, 64
BASE = bytes(32)
WAIT_S = 60.0
NOW_S = 1_800_000_000.0


class OnePatchStore:
    """The least patch store that can offer one patch or receive one."""

    def __init__(self, folder: Path, held: dict[bytes, tuple[Patch, Path]]) -> None:
        self._folder, self._held = folder, held
        self.arrived_s: float | None = None

    def heads(self, _topic: bytes) -> list[bytes]:
        """Offer everything in every topic."""
        return list(self._held)

    def envelope(self, patch_id: bytes, _topics: Collection[bytes]) -> bytes | None:
        """Return what is held."""
        return self._held[patch_id][0].envelope if patch_id in self._held else None

    def payload(self, patch_id: bytes, _topics: Collection[bytes]) -> Path | None:
        """Return the one file."""
        return self._held[patch_id][1] if patch_id in self._held else None

    def wants(self, _topic: bytes, notice: Notice) -> bool:
        """Want the first patch only."""
        return notice.id not in self._held and self.arrived_s is None

    def trusts(self, _author: bytes) -> bool:
        """Nobody competes here."""
        return True

    def partial(self, notice: Notice) -> Path:
        """Return where it arrives."""
        return self._folder / f"{notice.id.hex()}.part"

    def accept(self, _notice: Notice, _payload: Path) -> None:
        """Note the time of the last byte."""
        self.arrived_s = time.perf_counter()

    def blame(self, _peer: bytes, code: str) -> None:
        """Nobody here lies: a fault is a bug."""
        raise RuntimeError(code)


def patch_of(payload_bytes: int, who: identity.Identity) -> Patch:
    """Return a sealed patch of about ``payload_bytes``."""
    per_module = 2 * WIDTH * RANK * 4
    count = max(1, round(payload_bytes / per_module))
    factors = {
        f"model.layers.{i}.mlp.up_proj": (torch.randn(RANK, WIDTH), torch.randn(WIDTH, RANK))
        for i in range(count)
    }
    label = Label(domain="bench", base=BASE, seq=0, prev=None, now_s=NOW_S)
    return seal(Adapter(factors, RANK, float(RANK)), label, who)


def over_fabric(patch: Patch, folder: Path) -> float:
    """Return the seconds from publishing to the last verified byte, joined beforehand."""
    file = folder / "payload"
    file.write_bytes(patch.adapter.to_bytes())
    topic = topics.topic(BASE, "bench")
    giver = OnePatchStore(folder, {patch.id: (patch, file)})
    taker = OnePatchStore(folder, {})
    here = LanOptions("127.0.0.1:0", (), discover=False)
    with SwarmRunner(lambda: open_lan(b"g" * 32, here), giver, clock=lambda: NOW_S) as first:
        there = LanOptions("127.0.0.1:0", (first.address,), discover=False)
        with SwarmRunner(lambda: open_lan(b"t" * 32, there), taker, clock=lambda: NOW_S) as second:
            second.join(topic)
            while not second.peers():
                time.sleep(0.01)
            began = time.perf_counter()
            first.join(topic)
            first.publish(topic, patch.envelope)
            while taker.arrived_s is None and time.perf_counter() - began < WAIT_S:
                time.sleep(0.002)
    if taker.arrived_s is None:
        raise RuntimeError(f"nothing arrived in {WAIT_S} s")
    return taker.arrived_s - began


def over_tcp(size: int) -> float:
    """Return the seconds for ``size`` bytes over a bare asyncio TCP connection."""

    async def run() -> float:
        async def give(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            block = bytes(1 << 16)
            for _i in range(size // len(block)):
                writer.write(block)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(give, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while await reader.read(1 << 16):
            pass
        took = time.perf_counter() - began
        writer.close()
        server.close()
        return took

    return asyncio.run(run())


def transfer_seconds(payload_bytes: int, rounds: int) -> tuple[float, float]:
    """Return (median over the fabric, median over bare TCP), taking turns, first thrown away."""
    patch = patch_of(payload_bytes, identity.make(b"r" * 32, b"d" * 32, NOW_S))
    ours, bare = [], []
    for index in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            mine = over_fabric(patch, Path(folder))
        theirs = over_tcp(patch.body.payload_bytes)
        if index:
            ours.append(mine)
            bare.append(theirs)
    return statistics.median(ours), statistics.median(bare)
