"""The posts of one subscription: a bounded queue that counts what it drops."""

import asyncio
from collections.abc import Callable
from typing import Final

POSTS_QUEUED_MAX: Final = 256


class PostQueue:
    """A ``Subscription``."""

    def __init__(self, done: Callable[["PostQueue"], None]) -> None:
        """Begin empty; ``done`` forgets it."""
        self.dropped = 0
        self._done = done
        self._queue: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue(POSTS_QUEUED_MAX)

    async def get(self) -> tuple[bytes, bytes]:
        """See ``Subscription.get``."""
        return await self._queue.get()

    def put(self, peer: bytes, data: bytes) -> None:
        """Add a post, or count it as dropped."""
        try:
            self._queue.put_nowait((peer, data))
        except asyncio.QueueFull:
            self.dropped += 1

    def close(self) -> None:
        """Stop listening."""
        self._done(self)
