"""What there is to know of feeds, in sentences: for `status`, and all of it for `doctor`."""

from datetime import datetime

from hivelearn.identity import short_name
from hivelearn.node.context import NodeContext
from hivelearn.store.feeds import REASONS, Epoch, Fork
from hivelearn.swarm import topics

STALE_TODO = (
    "Publish as before: the feed goes on in a new epoch, and nobody holds it against you. "
    "What this home learnt since that copy was made is not in it."
)


def stale(context: NodeContext) -> tuple[str, ...]:
    """Return a sentence for each own feed whose next record begins a new epoch."""
    feeds = context.store.feeds
    return tuple(
        f"this home is an older copy of itself: {REASONS[why]} ({_swarm(swarm)})"
        for swarm in feeds.swarms()
        if (why := feeds.stale(swarm)) is not None
    )


def history(context: NodeContext) -> tuple[str, ...]:
    """Return what happened to the own feeds, then which feeds of others are frozen."""
    feeds, keys = context.store.feeds, context.known_identity()
    me = keys.device if keys is not None else None
    begun = [_begun(epoch) for epoch in feeds.epochs() if epoch.why != "first"]
    forks = sorted(feeds.forks(), key=lambda fork: fork.device != me)
    return (*begun, *(_forked(fork, own=fork.device == me) for fork in forks))


def _begun(epoch: Epoch) -> str:
    return (
        f"{_day(epoch.begun_s)}: the feed of {_swarm(epoch.swarm)} began a new epoch, "
        f"because {REASONS[epoch.why]}"
    )


def _forked(fork: Fork, *, own: bool) -> str:
    behind = f"signed numbers behind {fork.agreed} a second time"
    if own:
        return (
            f"{_day(fork.found_s)}: another copy of this home {behind}; "
            "what this one had published there was signed again"
        )
    return (
        f"{_day(fork.found_s)}: {short_name(fork.author)} {behind}, as a home put back from a "
        "backup does; that feed is taken no further, and nothing is held against its author"
    )


def _swarm(swarm: bytes) -> str:
    return "the open swarm" if swarm == topics.swarm() else f"closed swarm {swarm.hex()[:8]}"


def _day(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s).astimezone():%Y-%m-%d}"
