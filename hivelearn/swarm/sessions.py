"""The streams of anti-entropy: short loops that receive, let ``sync`` decide, and send."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, assert_never

from hivelearn.swarm import sync
from hivelearn.swarm.effects import AddProvider, Blame, Consider, PeerEffect
from hivelearn.swarm.fabric import Stream, StreamReset
from hivelearn.swarm.messages import WireMessage, decode, encode

ANSWER_S: Final = 15.0  # a peer's disk and our link may be slow
IDLE_S: Final = 60.0  # a session that asks nothing for so long is over
T = TypeVar("T")
Offload = Callable[..., Awaitable[T]]  # run a blocking function in a worker thread


async def pull(
    stream: Stream, session: sync.Pull, perform: Callable[[PeerEffect], Awaitable[None]]
) -> None:
    """Run the opener's side of one anti-entropy session to its end.

    Raises:
        PeerError: the stream broke, or a frame was malformed.
    """
    effects = sync.begin(session)
    while True:
        finished, learned = False, list[PeerEffect]()
        for effect in effects:
            match effect:
                case sync.Send(message):
                    await stream.send(encode(message))
                case sync.Finish():
                    finished = True
                case Consider() | AddProvider() | Blame():
                    learned.append(effect)
                case _:
                    assert_never(effect)
        # The next answer travels while we look at this one.
        for one in learned:
            await perform(one)
        if finished:
            await stream.close()
            return
        frame = await stream.recv(ANSWER_S)
        if frame is None:
            raise StreamReset("the peer ended the session early")
        effects = sync.step(session, decode(frame))


async def offer(stream: Stream, session: sync.Offer, offload: "Offload[list[WireMessage]]") -> None:
    """Answer one anti-entropy session until the opener ends it."""
    while (frame := await stream.recv(IDLE_S)) is not None:
        for message in await offload(sync.answer, session, decode(frame)):
            await stream.send(encode(message))
