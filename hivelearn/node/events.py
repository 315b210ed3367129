"""What happens in a node, as one typed stream: progress, log lines, widgets subscribe to it.

::

    inbox = queue.Queue(maxsize=100)
    with node.events.subscribe(inbox.put_nowait):
        while isinstance(event := inbox.get(), PermitChanged):
            print(event.permit.why)

A subscriber is called in the thread in which the thing happened, after it has
happened and in that order: while it works, that thread waits. So it returns soon, and
leaves long work to a queue of its own size. What it raises is logged and costs nobody
anything: a full queue drops what does not fit. Whoever wants to know never has to look
again and again.
"""

import inspect
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeAlias

from hivelearn.device.permit import Permit
from hivelearn.errors import UsageError
from hivelearn.node.reports import Judged, RoundReport, TrainReport, TrunkReport
from hivelearn.node.train_estimate import TrainEstimate
from hivelearn.store.correction import Correction
from hivelearn.store.feeds import Why
from hivelearn.store.generations import Generation
from hivelearn.store.witness import Loss
from hivelearn.swarm.events import PeerDown, PeerUp

log: Final = logging.getLogger("hivelearn.events")


@dataclass(frozen=True, slots=True)
class HomeMade:
    """The first write to a home has made its directory."""

    path: Path


@dataclass(frozen=True, slots=True)
class LossFound:
    """The disk has lost writes that had been acknowledged; the node goes on without them."""

    loss: Loss


@dataclass(frozen=True, slots=True)
class CorrectionAdded:
    """An expert said what the answer should have been."""

    correction: Correction


@dataclass(frozen=True, slots=True)
class CorrectionsImported:
    """A file of corrections was taken in."""

    count: int  # new ones


@dataclass(frozen=True, slots=True)
class CorrectionsForgotten:
    """Corrections were deleted."""

    count: int


@dataclass(frozen=True, slots=True)
class TrainingStarted:
    """A training begins, or goes on."""

    domain: str
    done: int  # steps made before
    of: int


@dataclass(frozen=True, slots=True)
class TrainingEstimated:
    """A training has made its first step: what the rest of it will cost."""

    estimate: TrainEstimate


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One optimizer step was made."""

    domain: str
    done: int  # 1 … of
    of: int  # as far as is known: a training may end when nothing more is gained
    loss: float  # weighted mean, nats per token
    left_s: float | None = None  # until the end, from the second step on


@dataclass(frozen=True, slots=True)
class TrainingEnded:
    """A training is over, or stopped before its end: the report says which."""

    report: TrainReport


@dataclass(frozen=True, slots=True)
class TrunkGrown:
    """A round has ended in a trunk, made here or taken up from others."""

    report: TrunkReport


@dataclass(frozen=True, slots=True)
class PermitChanged:
    """The device may work more, less, or not at all from now on."""

    permit: Permit
    domain: str | None  # whose training waits for it; None: a background run looks for work


@dataclass(frozen=True, slots=True)
class PatchArrived:
    """A patch came whole and rests in quarantine."""

    patch: bytes
    author: bytes
    domain: str


@dataclass(frozen=True, slots=True)
class PatchRefused:
    """A patch was refused at the door."""

    patch: bytes
    author: bytes
    domain: str
    why: str


@dataclass(frozen=True, slots=True)
class FeedForked:
    """An author's device signed two histories of one feed; told once for each.

    Nothing of it behind ``agreed`` is taken any more, until the author begins anew. It is
    no fault: whoever puts a backup back does it. Of this node's own feed it says that
    another copy of this home signs, too.
    """

    author: bytes
    device: bytes
    agreed: int  # the last number that both histories have


@dataclass(frozen=True, slots=True)
class FeedRestarted:
    """This home was found to be an older copy of itself; its feed goes on in a new epoch."""

    why: Why


@dataclass(frozen=True, slots=True)
class VerdictReached:
    """A merge has decided about one patch, and written it down."""

    domain: str
    judged: Judged


@dataclass(frozen=True, slots=True)
class MergeEnded:
    """`node.merge` is done; its adoption, if any, was told before."""

    report: RoundReport


@dataclass(frozen=True, slots=True)
class Adopted:
    """A domain is served differently now; ``generation.undoes`` is set by a rollback."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class TrustChanged:
    """The owner vouched for an author, or withdrew a vouch; what this adopts is told next."""

    author: bytes
    vouched: bool


@dataclass(frozen=True, slots=True)
class RunFailed:
    """A round of a background run ended early; the next one comes."""

    what: str
    bug: BaseException | None  # of ours; None if the message says all


Event: TypeAlias = (
    HomeMade
    | LossFound
    | CorrectionAdded
    | CorrectionsImported
    | CorrectionsForgotten
    | TrainingStarted
    | TrainingEstimated
    | TrainingStep
    | TrainingEnded
    | TrunkGrown
    | PermitChanged
    | PatchArrived
    | PatchRefused
    | FeedForked
    | FeedRestarted
    | VerdictReached
    | MergeEnded
    | Adopted
    | PeerUp
    | PeerDown
    | TrustChanged
    | RunFailed
)
Listener: TypeAlias = Callable[[Event], object]


class Subscription:
    """A listener's place in a stream; ``close()`` or the end of its ``with`` block ends it."""

    def __init__(self, stream: "EventStream", listener: Listener) -> None:
        self._stream, self._listener = stream, listener
        self._failed = False

    def tell(self, event: Event) -> None:
        """Call the listener; what it raises is logged, with its traceback the first time."""
        try:
            self._listener(event)
        except Exception as error:
            kind = type(event).__name__
            log.warning("a listener failed at %s: %r", kind, error, exc_info=not self._failed)
            self._failed = True

    def close(self) -> None:
        """Hear nothing more. May be called twice."""
        self._stream.remove(self)

    def __enter__(self) -> Self:
        """Listen for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self.close()


class EventStream:
    """Tells every subscriber what happens; keeps nothing. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: tuple[Subscription, ...] = ()  # replaced whole, never changed

    def subscribe(self, listener: Listener) -> Subscription:
        """Call ``listener`` with every event from now on, until what is returned is closed.

        Raises:
            UsageError: it is no function, or one that would have to be awaited.
        """
        if not callable(listener) or inspect.iscoroutinefunction(listener):
            raise UsageError(
                f"a {type(listener).__name__} cannot listen to events",
                remedy="Give a plain function of one event, such as queue.put_nowait.",
            )
        subscription = Subscription(self, listener)
        with self._lock:
            self._subscriptions += (subscription,)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Take a subscription out; see :meth:`Subscription.close`."""
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)

    def publish(self, event: Event) -> None:
        """Tell all, in the order in which they subscribed; called by what happened."""
        for subscription in self._subscriptions:
            subscription.tell(event)
