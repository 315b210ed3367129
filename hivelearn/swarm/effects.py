"""What the protocol's state machines want done. Frozen; performed by ``member``."""

from dataclasses import dataclass
from typing import TypeAlias

from hivelearn.patch.notice import Notice
from hivelearn.swarm.messages import Message


@dataclass(frozen=True, slots=True)
class Post:
    """Publish ``message`` in ``topic``."""

    topic: bytes
    message: Message


@dataclass(frozen=True, slots=True)
class Learned:
    """A verified notice that is new here; ``held`` says that ``peer`` has its payload."""

    topic: bytes
    peer: bytes
    notice: Notice
    held: bool


@dataclass(frozen=True, slots=True)
class Holds:
    """``peer`` says that it has the payload of ``patch``."""

    peer: bytes
    patch: bytes


@dataclass(frozen=True, slots=True)
class Blame:
    """``peer`` delivered what does not verify (a relay's fault, never an author's)."""

    peer: bytes
    code: str


@dataclass(frozen=True, slots=True)
class Named:
    """Somebody in the lobby has seen these domains."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send ``message`` on the session's stream."""

    message: Message


@dataclass(frozen=True, slots=True)
class Finish:
    """The session has nothing more to ask."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a blob stream to ``peer`` and ask for the leaves of ``patch``."""

    peer: bytes
    patch: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """Ask ``peer`` for one chunk, on its blob stream."""

    peer: bytes
    patch: bytes
    index: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Reset the blob stream to ``peer``."""

    peer: bytes
    patch: bytes


@dataclass(frozen=True, slots=True)
class Rehash:
    """Tell which chunks of the partial file are already right (event ``Present``)."""

    notice: Notice
    leaves: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Write a verified chunk into the partial file (then event ``Written``)."""

    notice: Notice
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Complete:
    """Every chunk is verified and written."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class GiveUp:
    """This payload can never be completed; ``code`` says why."""

    notice: Notice
    code: str


Effect: TypeAlias = (
    Post
    | Learned
    | Holds
    | Blame
    | Named
    | Send
    | Finish
    | Open
    | Request
    | Drop
    | Rehash
    | Write
    | Complete
    | GiveUp
)
