"""What follows from a peer's words, whether they came by gossip or by sync. Frozen.

Each state machine has a union of effects of its own: ``GossipEffect`` and
``SyncEffect`` hold these three and what only the one machine wants,
``TransferEffect`` holds ``Blame``. A machine decides and touches nothing; the
one who performs its effects matches all of them (``assert_never``).
"""

from dataclasses import dataclass
from typing import TypeAlias

from hivelearn.patch.notice import Notice


@dataclass(frozen=True, slots=True)
class Consider:
    """Decide whether to fetch a verified notice that is new here.

    ``held`` says that ``peer`` has its payload.
    """

    topic: bytes
    peer: bytes
    notice: Notice
    held: bool


@dataclass(frozen=True, slots=True)
class AddProvider:
    """Note that ``peer`` says in ``topic`` that it has the payload of ``patch``."""

    topic: bytes
    peer: bytes
    patch: bytes


@dataclass(frozen=True, slots=True)
class Blame:
    """Note that ``peer`` relayed what does not verify (its fault, never an author's)."""

    peer: bytes
    code: str


PeerEffect: TypeAlias = Consider | AddProvider | Blame
