"""A memory network with conditions: latency, loss and partitions, all from one seed.

Streams are reliable, so a lost frame of a stream comes late by one more round
trip; a lost post is lost. Across a partition nothing arrives, and both sides
notice by silence, as they would behind a pulled cable.
"""

import random
from collections.abc import Iterable

from hivelearn.swarm.fabrics.memory import MemoryNetwork


class NetworkConditions:
    """The ``delay`` function of a :class:`MemoryNetwork`; see :func:`memory_network`."""

    def __init__(self, seed: int, latency_s: float, loss: float) -> None:
        """Begin without a partition; ``loss`` is a share in [0, 1)."""
        self._rng = random.Random(seed)
        self._latency_s, self._loss = latency_s, loss
        self._side: dict[bytes, int] = {}

    def __call__(self, source: bytes, target: bytes, may_lose: bool) -> float | None:  # noqa: FBT001
        """Return the seconds on the way, or None for what never arrives."""
        if self._side.get(source, -1) != self._side.get(target, -1):
            return None
        delay = self._latency_s * self._rng.uniform(1.0, 1.5)
        while self._rng.random() < self._loss:
            if may_lose:
                return None
            delay += 3 * self._latency_s  # noticed after a round trip, then sent again
        return delay

    def part(self, *groups: Iterable[bytes]) -> None:
        """Cut the network into ``groups`` of keys; who is in none stays with the others."""
        self._side = {key: side for side, group in enumerate(groups) for key in group}

    def heal(self) -> None:
        """End the partition."""
        self._side = {}


def memory_network(
    seed: int = 0, *, latency_s: float = 0.0, loss: float = 0.0
) -> tuple[MemoryNetwork, NetworkConditions]:
    """Return a memory network and its conditions."""
    conditions = NetworkConditions(seed, latency_s, loss)
    return MemoryNetwork(conditions), conditions
