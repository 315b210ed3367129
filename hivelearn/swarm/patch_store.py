"""What the swarm asks of the node that runs it: patches to give, and who takes those that come.

The swarm knows no database and no trust; both are behind these methods.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from hivelearn.patch.notice import Notice


class PatchStore(Protocol):
    """Implemented by the node over its shelf. Called from worker threads, several at once."""

    def heads(self, topic: bytes) -> list[bytes]:
        """Return the ids (32 bytes each) of the patches held for ``topic``."""

    def envelope(self, patch_id: bytes, topics: Collection[bytes]) -> bytes | None:
        """Return the envelope of a patch that is held for one of ``topics``, as received."""

    def payload(self, patch_id: bytes, topics: Collection[bytes]) -> Path | None:
        """Return the complete payload file of a patch that is held for one of ``topics``."""

    def wants(self, topic: bytes, notice: Notice, relay: bytes) -> bool:
        """Return whether to fetch what the peer ``relay`` (device key) told of in ``topic``.

        Base, size and the policy about authors and relays are judged here.
        """

    def trusts(self, author: bytes) -> bool:
        """Return whether payloads of this author (32-byte key) go before those of strangers."""

    def partial(self, notice: Notice) -> Path:
        """Return where the resumable partial file of a payload lies."""

    def accept(self, notice: Notice, payload: Path) -> None:
        """Take a payload whose every chunk is verified; ``payload`` is the partial file.

        Raises:
            PeerError: it is refused after all; it will not be fetched again in this run.
        """

    def blame(self, peer: bytes, code: str) -> None:
        """Note that ``peer`` (device key) relayed what does not verify."""
