"""A feed: what one device signs for one swarm, and how two histories of it are told apart.

A swarm is all that meet under one secret (the empty one: all who are open). For
each swarm a device keeps a feed of its own, so that nothing which is said in one
names anything of another. A feed is numbered 1, 2, 3, and each record names the
one before. An *epoch* is an unbroken stretch of it. Its name is drawn by chance:
whoever sees two epochs cannot tell whether they are two swarms or one, nor how
many there were before. When a home turns out to be an older copy of itself, it
begins an epoch instead of signing a number again.

A record that was never published stands in no feed: epoch 0, number 0. It is
signed again, with its place, for each swarm in which it is published.

Two records for one number, or a predecessor that is another than was told, are a
*fork*: from there on an epoch is not one history any more. Who restored a backup
makes one too, so a fork freezes the epoch and says nothing against its author.
"""

import secrets
from dataclasses import dataclass
from typing import Final

EPOCH_BITS: Final = 63  # what fits a signed integer of a database; two never meet by chance


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands."""

    epoch: int = 0  # 0 where there were no epochs: in no feed, or of an earlier version
    seq: int = 0
    prev: bytes | None = None  # id of number seq - 1; None if it is not known


UNPUBLISHED: Final = Place()


def draw_epoch() -> int:
    """Return the name of a new epoch."""
    return secrets.randbits(EPOCH_BITS) or 1


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What is known of an epoch around a number; None where nothing is."""

    before: bytes | None = None  # id at seq - 1
    twin: bytes | None = None  # id at seq
    named: bytes | None = None  # the id that the record at seq + 1 says stands here


def agreed(record: bytes, place: Place, known: Neighbours) -> int | None:
    """Return the last number on which two histories of an epoch agree; None if they are one.

    Args:
        record: id (32 bytes) of a record that stands at ``place``.
        place: its place; a number of 0 is in no feed and contradicts nothing.
        known: the records around it that came before.
    """
    if not place.seq:
        return None
    if None is not known.before != place.prev is not None:
        return max(0, place.seq - 2)
    if known.twin not in (None, record) or known.named not in (None, record):
        return place.seq - 1
    return None
