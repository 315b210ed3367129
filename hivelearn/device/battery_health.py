"""What a battery says of itself in words, and which of these mean: do not work now.

The words are those of the Linux kernel (``health`` of a power supply) and of Android,
which spells them in capitals. They are obeyed beside the figures: a charger chip that
says OVERHEAT may well show no temperature.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from hivelearn.device.reading import Sensed, known, unknown

# Word -> what is told. Those that are missing (good, cool, calibration required) permit work.
TROUBLES: Final[Mapping[str, str]] = {
    "overheat": "is overheated",
    "hot": "is hot",
    "warm": "is too warm",  # the charger's own limit, well above ours
    "cold": "is too cold",  # charging it now would spoil it
    "dead": "is dead",
    "over voltage": "has too high a voltage",
    "over current": "has too high a current",
    "unspecified failure": "has failed",
    "failure": "has failed",
    "watchdog timer expire": "is not watched any more",
    "safety timer expire": "charges for too long",
    "blown fuse": "has blown its fuse",
    "cell imbalance": "has uneven cells",
}
NO_BATTERY: Final = "no battery"
_SILENT: Final = frozenset({"", "unknown"})


def word(said: object) -> str:
    """Return what a driver says, spelled as above; nothing if it says nothing."""
    text = " ".join(str(said or "").replace("_", " ").lower().split())
    return "" if text in _SILENT else text


def worst(words: Iterable[str]) -> Sensed[str]:
    """Return the first of several batteries' words that means trouble, else any."""
    told = [each for each in words if each]
    for each in told:
        if each in TROUBLES:
            return known(each)
    return known(told[0]) if told else unknown("no battery tells its health")
