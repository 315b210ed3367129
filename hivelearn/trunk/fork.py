"""Which of two trunks to go on from, where nodes that met late have grown apart.

Own evidence first: a trunk that is surely better or worse on the own corrections, by what
would be a harm, is taken or left. Where it cannot tell, everybody goes by what everybody
sees alike: the trunk that more parts went into, then the smaller id. So nodes that hear of
each other's trunks end with one.
"""

from dataclasses import dataclass
from typing import Final

from hivelearn.gate.gain import Gain, Measure
from hivelearn.gate.rules import RuleLimits

TAU: Final = RuleLimits().tau  # nats: two trunks that are so near are told apart by nobody


@dataclass(frozen=True, slots=True)
class Claim:
    """What two nodes see alike of a trunk."""

    id: bytes
    parts: int  # that it was made of, with all before it


def takes_over(mine: Claim, other: Claim, gain: Measure) -> bool:
    """Return whether to go on from ``other``.

    Args:
        mine: the trunk that this node goes on from now.
        other: what it has heard of.
        gain: of ``other`` against ``mine``, on the own corrections.
    """
    if other.id == mine.id:
        return False
    if isinstance(gain, Gain):
        if gain.low > TAU:
            return True
        if gain.high < -TAU:
            return False
    return (-other.parts, other.id) < (-mine.parts, mine.id)
