"""Log lines of what happens in a node: the first subscriber of every stream of events."""

import logging
from typing import Final

from hivelearn.identity import short_name
from hivelearn.node.events import (
    Event,
    FeedForked,
    FeedRestarted,
    HomeMade,
    PatchRefused,
    PermitChanged,
    RunFailed,
)
from hivelearn.store.feeds import REASONS

_HOME: Final = logging.getLogger("hivelearn.home")
_TRAIN: Final = logging.getLogger("hivelearn.train")
_LIVE: Final = logging.getLogger("hivelearn.live")
_SWARM: Final = logging.getLogger("hivelearn.swarm")


def write(event: Event) -> None:
    """Log what somebody at the machine wants to know; warn of what keeps them waiting."""
    match event:
        case HomeMade(path):
            _HOME.info("a new home was made in %s", path)
        case PermitChanged(permit, domain):
            log = _LIVE if domain is None else _TRAIN
            waits = domain is not None and not permit.work
            log.log(logging.WARNING if waits else logging.INFO, "%s", permit.why)
        case PatchRefused(patch, why=why):
            _SWARM.warning("refused %s: %s", patch.hex()[:8], why)
        case FeedForked(author, agreed=agreed):
            said = "%s signed number %d twice; from there on its feed is not taken"
            _SWARM.warning(said, short_name(author), agreed + 1)
        case FeedRestarted(why):
            _SWARM.warning("a feed of this home began a new epoch: %s", REASONS[why])
        case RunFailed(what, None):
            _LIVE.warning("%s", what)
        case RunFailed(_, bug):
            _LIVE.error("a bug of ours ended a round", exc_info=bug)
        case _:
            pass
