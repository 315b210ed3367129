"""What the swarm has done since it began, for `sync` to wait on and for reports to read."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, assert_never

from hivelearn.swarm.events import PayloadRefused, PayloadStored, PeerDown, PeerUp, SwarmEvent

KEPT_MAX: Final = 1_024


class Signal:
    """Wakes all who wait for the next change; belongs to one loop."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def notify(self) -> None:
        """Wake all who wait now; who waits later waits for the next call."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        """Return at the next change, or after ``timeout_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._next.wait()


@dataclass(slots=True)
class SwarmStats:
    """Written by the member's loop, read by everybody."""

    progress_s: float = 0.0  # monotonic seconds of the last progress
    judging: int = 0  # notices and payloads at the store right now
    pulls_wanted: set[bytes] = field(default_factory=set)  # peers whose sync is not done
    met: set[bytes] = field(default_factory=set)  # peers that were verified, here still or not
    accepted: list[bytes] = field(default_factory=list)
    refused: dict[bytes, str] = field(default_factory=dict)  # patch -> code
    failures: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_MAX))
    domains: dict[str, None] = field(default_factory=dict)
    changed: Signal = field(default_factory=Signal)

    def count(self, event: SwarmEvent) -> None:
        """Take what happened into account."""
        match event:
            case PeerUp(peer):
                # So that one who came and went is not "nobody".
                if len(self.met) < KEPT_MAX:
                    self.met.add(peer)
            case PayloadStored(notice):
                self.accepted.append(notice.id)
            case PayloadRefused(notice, code):
                self.refused[notice.id] = code
            case PeerDown():
                pass
            case _:
                assert_never(event)

    def add_domains(self, names: tuple[str, ...], most: int) -> None:
        """Add domains heard in the lobby; beyond ``most`` nothing is added."""
        for one in names:
            if len(self.domains) < most:
                self.domains[one] = None

    def want_pull(self, peer: bytes) -> None:
        """Note that ``peer`` is to be asked what it holds."""
        self.pulls_wanted.add(peer)

    def pulled(self, peer: bytes) -> None:
        """Note that ``peer`` was asked, or is gone."""
        self.pulls_wanted.discard(peer)
        self.changed.notify()

    @contextlib.contextmanager
    def at_the_store(self) -> Iterator[None]:
        """Count as busy while the store judges or takes something."""
        self.judging += 1
        try:
            yield
        finally:
            self.judging -= 1
            self.changed.notify()
