"""A peer that speaks the swarm's protocols by hand: it asks for whatever it likes."""

from collections.abc import Sequence

from hivelearn.swarm import topics
from hivelearn.swarm.fabric import Fabric, Stream
from hivelearn.swarm.messages import (
    BLOB_PROTOCOL,
    SYNC_PROTOCOL,
    Announce,
    AskHeads,
    Done,
    Fetch,
    Greeting,
    Heads,
    Want,
    WireMessage,
    decode,
    encode,
)

WAIT_S = 5.0
NONCE = b"n" * topics.NONCE_BYTES


class RawPeer:
    """One side of a fabric with nothing behind it, turned towards one member."""

    def __init__(self, fabric: Fabric, target: bytes) -> None:
        """Speak through ``fabric`` to the peer of the key ``target``."""
        self.fabric, self.target = fabric, target
        self._sync: Stream | None = None

    async def heads(self, *known: bytes) -> dict[bytes, tuple[bytes, ...]]:
        """Open a session of anti-entropy; return what is told of the topics ``known``."""
        protocol = SYNC_PROTOCOL
        stream = await self.fabric.open_stream(self.target, protocol, timeout_s=WAIT_S)
        self._sync = stream
        (greeting,) = await say(stream, Greeting(NONCE))
        assert isinstance(greeting, Greeting)
        salt = topics.salt(NONCE, greeting.nonce)
        theirs = topics.recognise(known, self.target, salt)
        tags = sorted(topics.tag(one, self.fabric.key, salt) for one in known)
        told = await say(stream, AskHeads(tuple(tags)), until=Done())
        return {theirs[each.tag]: each.patches for each in told if isinstance(each, Heads)}

    async def envelopes(self, *patches: bytes) -> list[bytes]:
        """Return the envelopes that the session of the last ``heads`` gives."""
        assert self._sync is not None
        given = await say(self._sync, Want(patches), until=Done())
        return [each.envelope for each in given if isinstance(each, Announce)]

    async def blob(self, patch: bytes) -> tuple[Stream, WireMessage | None]:
        """Open a blob stream; return it with the answer to the request."""
        protocol = BLOB_PROTOCOL
        stream = await self.fabric.open_stream(self.target, protocol, timeout_s=WAIT_S)
        (answer,) = await say(stream, Fetch(patch))
        return stream, answer


async def say(
    stream: Stream, message: WireMessage, *, until: WireMessage | None = None
) -> Sequence[WireMessage | None]:
    """Send ``message``; return the one answer, or all ``until`` an answer that is not returned."""
    await stream.send(encode(message))
    answers: list[WireMessage | None] = []
    while True:
        frame = await stream.recv(WAIT_S)
        answer = None if frame is None else decode(frame)
        if until is None:
            return [answer]
        if answer == until or frame is None:
            return answers
        answers.append(answer)
