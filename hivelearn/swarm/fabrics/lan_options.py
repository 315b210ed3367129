"""What may be chosen of the LAN fabric, and what it grants to strangers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hivelearn.errors import UsageError
from hivelearn.swarm.fabrics import lan_address

ANYWHERE: Final = "0.0.0.0:0"  # any free port, on all of the machine's addresses


@dataclass(frozen=True, slots=True)
class LanOptions:
    """Where to listen and whom to look for."""

    listen: str = ANYWHERE  # host:port; port 0 takes any free one
    peers: Sequence[str] = ()  # "hl1…@host:port" or "host:port"; a single one may be given as text
    discover: bool = True  # look for peers on the local network, by zeroconf

    def __post_init__(self) -> None:
        """Refuse what is of the wrong kind, and what is no address."""
        peers = (self.peers,) if isinstance(self.peers, str) else self.peers
        if not isinstance(self.discover, bool):
            raise UsageError(f"discover = {self.discover!r}", remedy="Say True or False.")
        if not isinstance(self.listen, str):
            raise UsageError(f"listen = {self.listen!r}", remedy="Write it as host:port.")
        if not isinstance(peers, Sequence) or not all(isinstance(one, str) for one in peers):
            raise UsageError(f"peers = {peers!r}", remedy="Write each of them as host:port.")
        object.__setattr__(self, "peers", tuple(peers))
        lan_address.parse(self.listen, listening=True)
        for peer in self.peers:
            lan_address.parse(peer)


@dataclass(frozen=True, slots=True)
class LanLimits:
    """How many connections one node holds, and for how long one that proves nothing."""

    links_max: int = 256  # incoming
    unproven_max: int = 64  # incoming, before they have proved a key
    targets_max: int = 256  # that zeroconf may make us dial
    hello_s: float = 5.0  # to prove a key
    settled_s: float = 10.0  # after that a link without a shared topic may have to go
