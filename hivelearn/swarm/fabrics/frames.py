"""The frames of a link: a head (kind, stream number) and a body."""

import struct
from enum import IntEnum
from typing import Final

HEAD: Final = struct.Struct("<BI")
AMOUNT: Final = struct.Struct("<I")  # body of a CREDIT frame
FRAME_COST: Final = 64  # what a queued frame counts beside its bytes: empty ones are not free


class FrameKind(IntEnum):
    """The first byte of a head. Kinds of a later version are ignored."""

    HELLO = 0  # of a connection that has not proved its key yet; never the link's business
    OPEN = 1  # a stream; the body is its protocol
    DATA = 2
    END = 3  # of our direction, cleanly
    RESET = 4
    CREDIT = 5  # so many bytes of a stream may follow; of stream 0: so many posts
    PING = 6
    TAGS = 7  # of the topics that the sender takes part in
    POST = 8  # a tag and the data
    BYE = 9


def head(kind: FrameKind, number: int = 0) -> bytes:
    """Return the head of a frame; ``number`` is the stream's, 0 for the link itself."""
    return HEAD.pack(kind, number)
