"""What happened lately, for `sync` to wait on and for people to read."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

KEPT_MAX: Final = 1_024


@dataclass(slots=True)
class News:
    """Written by the member's loop, read by everybody."""

    at: float = 0.0  # monotonic seconds of the last news
    judging: int = 0  # notices and payloads at the library right now
    pulls_wanted: set[bytes] = field(default_factory=set)  # peers whose sync is not done
    met: set[bytes] = field(default_factory=set)  # peers that were verified, here still or not
    accepted: list[bytes] = field(default_factory=list)
    refused: dict[bytes, str] = field(default_factory=dict)  # patch -> code
    blamed: deque[tuple[bytes, str]] = field(default_factory=lambda: deque(maxlen=KEPT_MAX))
    failures: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_MAX))
    domains: dict[str, None] = field(default_factory=dict)

    def meet(self, peer: bytes) -> None:
        """Remember a verified peer, so that one who came and went is not "nobody"."""
        if len(self.met) < KEPT_MAX:
            self.met.add(peer)

    def name(self, names: tuple[str, ...], most: int) -> None:
        """Add domains heard in the lobby; beyond ``most`` nothing is added."""
        for one in names:
            if len(self.domains) < most:
                self.domains[one] = None


@dataclass(frozen=True, slots=True, repr=False)
class SyncReport:
    """What one `sync` brought."""

    seconds: float
    peers: int  # verified at the end
    accepted: tuple[bytes, ...]  # patch ids, in order of arrival
    refused: dict[bytes, str]  # patch id -> code
    unfinished: tuple[bytes, ...]  # wanted, but nobody gave all of it
    failures: tuple[str, ...]
    bytes_in: int
    bytes_out: int
    quiet: bool  # ended because nothing new came, not because time was up

    def __str__(self) -> str:
        """Tell it in one line."""
        end = "quiet" if self.quiet else "time was up"
        return (
            f"{_count(len(self.accepted), 'patch', 'patches')} from "
            f"{_count(self.peers, 'peer', 'peers')} in {self.seconds:.1f} s "
            f"({self.bytes_in / 1e6:.1f} MB in, {self.bytes_out / 1e6:.1f} MB out, "
            f"{len(self.refused)} refused, {len(self.unfinished)} unfinished; {end})"
        )

    __repr__ = __str__  # what a notebook or a shell shows is for people


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
