"""What a node's part in the swarm tells whoever watches it: facts, in the order they happened.

The observer is called in the swarm's own loop, so it has to return soon and may
not call the swarm; whatever it raises is recorded and stops nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from hivelearn.patch.notice import Notice


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A peer has proved its device key (32 bytes)."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The last connection to a peer is gone."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class PayloadStored:
    """A payload came whole, and the store took it."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class PayloadRefused:
    """A payload can never be had, or the store refused it; ``code`` says why."""

    notice: Notice
    code: str


SwarmEvent: TypeAlias = PeerUp | PeerDown | PayloadStored | PayloadRefused
Observer: TypeAlias = Callable[[SwarmEvent], None]


def ignore(event: SwarmEvent) -> None:
    """Observe nothing."""
