"""Addresses people type: ``hl1…@host:port``, ``host:port``, ``[::1]:port``. Pure.

With the key, the first packet is already for that key alone. Without it, we ask
the machine who it is, in clear, and then make it prove that key; so a bare
address is as good as the network it is typed in, and a swarm shows whom it got.
"""

from dataclasses import dataclass
from typing import Final

from hivelearn.errors import UsageError
from hivelearn.identity import full_name, parse_name

PORT_MAX: Final = 65_535
HOST_MAX: Final = 253  # characters of a name, and of one of its labels (RFC 1035)
LABEL_MAX: Final = 63
_REMEDY: Final = "Write it as 192.168.1.5:4747 or, better, hl1…@192.168.1.5:4747."


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node listens, and its device key if known."""

    host: str
    port: int
    key: bytes | None = None

    def __str__(self) -> str:
        """Return the form people pass on."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        name = f"{full_name(self.key)}@" if self.key is not None else ""
        return f"{name}{host}:{self.port}"


def parse(text: str, *, listening: bool = False) -> Address:
    """Return the address in ``text``.

    Args:
        text: what the user wrote.
        listening: port 0 ("any") is allowed, a key is not.

    Raises:
        UsageError: it is none.
    """
    name, at, place = text.strip().rpartition("@")
    host, colon, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    least = 0 if listening else 1
    if (
        not colon
        or not host
        or len(host) > HOST_MAX
        or any(len(label) > LABEL_MAX for label in host.split("."))
        or any(one.isspace() or one in "/@*" for one in host)
        or not (port.isascii() and port.isdigit() and len(port) <= len(str(PORT_MAX)))
        or not least <= int(port) <= PORT_MAX
        or (listening and at)
    ):
        raise UsageError(f"{text[:120]!r} is not an address", remedy=_REMEDY)
    return Address(host, int(port), parse_name(name) if at else None)
