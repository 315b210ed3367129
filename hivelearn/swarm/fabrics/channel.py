"""One stream of a link: bounded inbox, credit for the writer, three ways to end.

Clean end, reset and silence stay three different things up to the caller: a
killed peer must never look like a peer that had said everything.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

from hivelearn.errors import UsageError
from hivelearn.swarm.fabric import FRAME_MAX_BYTES, StreamReset
from hivelearn.swarm.fabrics.frames import AMOUNT, FRAME_COST, FrameKind

WINDOW_BYTES: Final = 1 << 20  # that may lie unread at the reader of one stream
SEND_S: Final = 30.0


class FrameSender(Protocol):
    """What a channel needs of its link."""

    def transmit(self, kind: FrameKind, number: int = 0, body: bytes = b"") -> None:
        """Send one frame."""

    def forget(self, number: int) -> None:
        """Free the channel's number."""


class Channel:
    """A ``Stream`` over a link."""

    def __init__(self, number: int, link: FrameSender) -> None:
        """Begin open in both directions."""
        self._number, self._link = number, link
        self._inbox: deque[bytes] = deque()
        self._credit = WINDOW_BYTES
        self._unreturned = self._owed = 0  # received but not granted again; read of that
        self._we_ended = self._they_ended = False
        self._broken: str | None = None
        self._changed = asyncio.Event()

    # -- for the caller ---------------------------------------------------

    async def send(self, data: bytes, *, timeout_s: float = SEND_S) -> None:
        """See ``Stream.send``."""
        if not isinstance(data, bytes):
            raise UsageError(
                f"a stream carries bytes, and was given {type(data).__name__}",
                remedy="Encode it first, such as text.encode().",
            )
        if len(data) > FRAME_MAX_BYTES:
            raise UsageError(
                f"a frame of {len(data)} bytes is above {FRAME_MAX_BYTES}",
                remedy="Send it in several frames.",
            )
        while self._credit <= 0 and self._broken is None:
            await self._wait(timeout_s, "the reader took nothing")
        if self._broken is not None or self._we_ended:
            raise StreamReset(self._broken or "we had ended the stream")
        self._credit -= len(data) + FRAME_COST
        self._link.transmit(FrameKind.DATA, self._number, data)

    async def recv(self, timeout_s: float) -> bytes | None:
        """See ``Stream.recv``."""
        while not self._inbox:
            if self._broken is not None:
                raise StreamReset(self._broken)
            if self._they_ended:
                return None
            await self._wait(timeout_s, "nothing came")
        data = self._inbox.popleft()
        self._owed += len(data) + FRAME_COST
        # Granting a quarter window at a time keeps credit frames rare; the writer
        # cannot starve, for without credit all of it lies here, read or unread.
        if self._owed >= WINDOW_BYTES // 4 and not self._they_ended:
            self._link.transmit(FrameKind.CREDIT, self._number, AMOUNT.pack(self._owed))
            self._unreturned -= self._owed
            self._owed = 0
        return data

    async def close(self) -> None:
        """See ``Stream.close``."""
        self.end()

    def end(self) -> None:
        """End our direction. May be called twice."""
        if self._we_ended or self._broken is not None:
            return
        self._we_ended = True
        self._link.transmit(FrameKind.END, self._number)
        self._forget_if_over()

    def abort(self) -> None:
        """See ``Stream.abort``."""
        if self._broken is None and not (self._we_ended and self._they_ended):
            self._link.transmit(FrameKind.RESET, self._number)
            self.reset("we reset the stream")

    # -- for the link -----------------------------------------------------

    @property
    def unread(self) -> int:
        """Bytes that came and were not yet read, each frame with its cost."""
        return self._unreturned - self._owed if self._inbox else 0

    def take(self, data: bytes) -> None:
        """Take a frame of the peer."""
        self._unreturned += len(data) + FRAME_COST
        if self._they_ended or self._unreturned > WINDOW_BYTES + FRAME_MAX_BYTES + FRAME_COST:
            self.abort()  # it writes after its end, or beyond its credit
            return
        self._inbox.append(data)
        self._changed.set()

    def ended(self) -> None:
        """Take the peer's clean end."""
        self._they_ended = True
        self._changed.set()
        self._forget_if_over()

    def credited(self, amount: int) -> None:
        """Take the peer's grant to send ``amount`` bytes more."""
        self._credit = min(WINDOW_BYTES, self._credit + amount)
        self._changed.set()

    def reset(self, why: str) -> None:
        """Break the stream; what lies unread is gone, for it is not the whole."""
        if self._broken is None and not (self._we_ended and self._they_ended):
            self._broken = why
            self._inbox.clear()
            self._changed.set()
            self._link.forget(self._number)

    # ---------------------------------------------------------------------

    async def _wait(self, timeout_s: float, silence: str) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            self.abort()
            raise StreamReset(f"{silence} for {timeout_s:g} s") from None

    def _forget_if_over(self) -> None:
        if self._we_ended and self._they_ended:
            self._link.forget(self._number)
