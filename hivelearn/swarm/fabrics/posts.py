"""The posts of one subscription: a bounded queue in which every peer has its own place.

Peers are served in turn, so that a friend's one post does not stand behind the two hundred
of somebody else. When all is full, it is the longest row that loses a post; what is dropped
is counted, and anti-entropy brings it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

POSTS_QUEUED_MAX: Final = 256


class PostQueue:
    """A ``Subscription``."""

    def __init__(self, done: Callable[["PostQueue"], None]) -> None:
        """Begin empty; ``done`` forgets it."""
        self.dropped = 0
        self._done = done
        self._rows: dict[bytes, deque[bytes]] = {}  # by peer; the first one is next
        self._count = 0
        self._came = asyncio.Event()

    async def get(self) -> tuple[bytes, bytes]:
        """See ``Subscription.get``."""
        while not self._rows:
            self._came.clear()
            await self._came.wait()
        peer = next(iter(self._rows))
        row = self._rows.pop(peer)
        data = row.popleft()
        if row:
            self._rows[peer] = row  # behind all others
        self._count -= 1
        return peer, data

    def put(self, peer: bytes, data: bytes) -> None:
        """Add a post, and drop one where there is no room."""
        self._rows.setdefault(peer, deque()).append(data)
        self._count += 1
        if self._count > POSTS_QUEUED_MAX:
            longest = max(self._rows, key=lambda one: len(self._rows[one]))
            self._rows[longest].pop()
            if not self._rows[longest]:
                del self._rows[longest]
            self._count -= 1
            self.dropped += 1
        self._came.set()

    def close(self) -> None:
        """Stop listening."""
        self._done(self)
