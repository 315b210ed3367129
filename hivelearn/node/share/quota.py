"""How much of strangers a node keeps: patches and bytes, on the shelf and on their way here.

Parked and half-fetched payloads take disk like any other, so they count, too. A
promise that nobody keeps (a payload announced, wanted and never delivered)
frees its place after an hour; what was written of it by then counts as the file
that it is. What does not fit is not fetched, and that is nobody's fault.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hivelearn.node.context import NodeContext
from hivelearn.patch.notice import Notice
from hivelearn.store.shelf import WAITING

PROMISE_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class _Promise:
    """A payload that was wanted and is not here yet."""

    nbytes: int
    stranger: bool
    since_s: float


class Sandbox:
    """The places for unknown authors. Its caller holds a lock from looking to taking."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._coming: dict[str, _Promise] = {}  # payload name

    def lets_in(self, notice: Notice, trusted: Collection[bytes]) -> bool:
        """Return whether a payload may come or stay: its author is trusted, or there is room."""
        body, config = notice.body, self._context.config
        if body.author in trusted:
            return True
        patches, nbytes = self._taken(body.payload_root.hex(), trusted)
        return (
            patches < config.sandbox_max and nbytes + body.payload_bytes <= config.sandbox_max_bytes
        )

    def expect(self, notice: Notice, trusted: Collection[bytes]) -> None:
        """Keep a place for a payload that will be fetched now."""
        body = notice.body
        self._coming[body.payload_root.hex()] = _Promise(
            body.payload_bytes, body.author not in trusted, self._context.environment.monotonic()
        )

    def arrived(self, notice: Notice) -> None:
        """Free the place that was kept; from now on the shelf tells."""
        self._coming.pop(notice.body.payload_root.hex(), None)

    def _taken(self, but: str, trusted: Collection[bytes]) -> tuple[int, int]:
        """Return how many patches and bytes strangers have; not counting the payload ``but``."""
        store, now_s = self._context.store, self._context.environment.monotonic()
        self._coming = {
            name: promise
            for name, promise in self._coming.items()
            if now_s - promise.since_s < PROMISE_S
        }
        here = [name for author, name in store.shelf.payloads(WAITING) if author not in trusted]
        sizes = {name: _size(store.blobs.path(name)) for name in here}
        sizes |= {n: p.nbytes for n, p in self._coming.items() if p.stranger and n != but}
        lying = {path.name: _size(path) for path in self._context.home.partial.iterdir()}
        sizes |= {n: size for n, size in lying.items() if n != but and n not in self._coming}
        twins = len(here) - len(set(here))  # two records of one payload are two patches
        return len(sizes) + twins, sum(sizes.values())


def _size(path: Path) -> int:
    with suppress(OSError):  # gone meanwhile
        return path.stat().st_size
    return 0
