"""Log lines of what happens in a node: the first subscriber of every stream of events."""

import logging
from typing import Final

from hivelearn.node.events import Event, HomeMade, PatchRefused, PermitChanged, RunFailed

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
        case RunFailed(what, None):
            _LIVE.warning("%s", what)
        case RunFailed(_, bug):
            _LIVE.error("a bug of ours ended a round", exc_info=bug)
        case _:
            pass
