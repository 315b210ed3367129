"""One slice of work at a time, for a loop that has other things to do in between.

``Governor.paced`` waits through a rest; a node that also listens to its swarm
must not. :func:`pull` returns instead, says why, and leaves the iterator where
it stands.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from hivelearn.device.governor import Governor
from hivelearn.device.permit import Permit
from hivelearn.errors import UsageError

T = TypeVar("T")

End = Literal["finished", "time", "rest", "stopped"]


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """What one slice did, and why it ended."""

    items: tuple[T, ...]
    end: End  # no work left, slice over, permit withdrawn, or the sleep said to end
    permit: Permit  # the last one asked for


def pull(
    work: Iterator[T],
    governor: Governor,
    *,
    slice_s: float,
    monotonic: Callable[[], float] = time.monotonic,
) -> Slice[T]:
    """Take items from ``work`` while the permit lasts, for about ``slice_s`` seconds.

    At least one item is taken if the permit allows any; nothing is taken that
    is not returned, and ``work`` is never closed. If ``work`` raises, so does
    this, and the items of this slice are lost: let ``work`` keep what matters.

    Raises:
        UsageError: ``slice_s`` is not positive.
    """
    if not slice_s > 0:
        raise UsageError(f"slice_s = {slice_s} is not positive", remedy="Give a number of seconds.")
    items: list[T] = []
    began_s = monotonic()
    while (permit := governor.permit()).work:
        step_began_s = monotonic()
        if items and step_began_s - began_s >= slice_s:
            return Slice(tuple(items), "time", permit)
        try:
            items.append(next(work))
        except StopIteration:
            return Slice(tuple(items), "finished", permit)
        if governor.breathe(permit, monotonic() - step_began_s):
            return Slice(tuple(items), "stopped", permit)
    return Slice(tuple(items), "rest", permit)
