"""What a record builds on: keys 6 and 7 of a body, and the name that follows from them.

A *part* is an adapter that was trained a few steps onto a trunk. A *trunk* is a sum of
parts onto the trunk before, and its record says which, with their factors: whoever holds
the parts can make it by themselves, so its name is a hash of what it is made of, and not
of its bytes, whose last digits may differ between machines. The trunk that everybody
begins with is the model itself.

Factors are whole numbers of a millionth. No text of a peer is looked up here.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Self

from hivelearn import codec

ID_BYTES: Final = 32
PARTS_MAX: Final = 256  # of one trunk
ONE: Final = 1_000_000
COUNT_MAX: Final = 2**31 - 1
_ROOT_TAG: Final = b"hivelearn/trunk-root/1\0"
_TRUNK_TAG: Final = b"hivelearn/trunk/1\0"


@dataclass(frozen=True, slots=True)
class Descent:
    """Where an adapter comes from.

    Attributes:
        onto: id of the trunk that it builds on, 32 bytes.
        height: of that trunk; the model itself has 0.
        parts_before: how many parts that trunk was made of, with all before it. A claim.
        parts: of a trunk: (payload root, factor in millionths) of each part, by root. Without
            any it is a part itself.
        momentum: of a trunk: in millionths, how much of the step before was made again.
    """

    onto: bytes
    height: int
    parts_before: int
    parts: tuple[tuple[bytes, int], ...] = ()
    momentum: int = 0

    @property
    def is_trunk(self) -> bool:
        """Whether it is a sum of parts."""
        return bool(self.parts)

    @property
    def parts_in_all(self) -> int:
        """Return how many parts it was made of, with all before it, as far as is claimed."""
        return self.parts_before + len(self.parts)

    def fault(self) -> str | None:
        """Return what no record can say, or None if all is in its limits."""
        roots = [root for root, _ in self.parts]
        factors = [factor for _, factor in self.parts]
        counts = (self.height, self.parts_before, self.momentum, *factors)
        if any(type(one) is not int for one in counts):
            return "a count is no number"
        if any(type(one) is not bytes or len(one) != ID_BYTES for one in (self.onto, *roots)):
            return "a name in its descent is not 32 bytes"
        if not (0 <= self.height <= COUNT_MAX and 0 <= self.parts_before <= COUNT_MAX):
            return "a count in its descent is out of range"
        if len(roots) > PARTS_MAX or roots != sorted(set(roots)):
            return f"its parts are more than {PARTS_MAX}, or not sorted"
        if any(not 0 < factor <= ONE for factor in factors) or sum(factors) > ONE:
            return "the factors of its parts are out of range"
        if not 0 <= self.momentum < ONE or (self.momentum and not self.parts):
            return "its momentum is out of range"
        return None

    def to_values(self) -> tuple[codec.Value, codec.Value]:
        """Return keys 6 and 7 of the body."""
        parts: list[codec.Value] = [[root, factor] for root, factor in self.parts]
        return parts, [self.onto, self.height, self.parts_before, self.momentum]

    @classmethod
    def from_values(cls, parts: Any, onto: Any) -> Self:
        """Return the descent in keys 6 and 7 of a body.

        Raises:
            ValueError: it is malformed or out of range, with the reason.
        """
        match onto:
            case [bytes(trunk), int(height), int(before), int(momentum)]:
                pass
            case _:
                raise ValueError("its descent is malformed")
        if not isinstance(parts, list) or any(
            not isinstance(one, list) or len(one) != len(("root", "factor")) for one in parts
        ):
            raise ValueError("its parts are malformed")
        found = cls(trunk, height, before, tuple((one[0], one[1]) for one in parts), momentum)
        if (fault := found.fault()) is not None:
            raise ValueError(fault)
        return found


def root_id(base: bytes, domain: str) -> bytes:
    """Return the id of the trunk that a domain begins with: the model as it is."""
    return hashlib.sha256(_ROOT_TAG + codec.encode([base, domain])).digest()


def trunk_id(base: bytes, domain: str, rank: int, descent: Descent) -> bytes:
    """Return the id of the trunk that is made so: the same on every node."""
    parts, onto = descent.to_values()
    return hashlib.sha256(_TRUNK_TAG + codec.encode([base, domain, rank, parts, onto])).digest()
