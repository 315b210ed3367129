"""The fabrics by name, and the options that each of them has.

A row names a maker and a frozen record of options, and is looked at on use: a
fabric loads its libraries when somebody opens it. The record says what may be
chosen and refuses what cannot be; nobody else knows its fields.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from hivelearn.errors import UsageError
from hivelearn.swarm.fabric import Fabric

PEERS: Final = "peers"  # the one option of which a running fabric takes more (``Fabric.meet``)


@dataclass(frozen=True, slots=True)
class FabricKind:
    """One row: how a fabric is made, and of what."""

    open: Callable[[bytes, Any], Fabric]  # (device seed, options) -> not yet started
    options: type[Any]  # a frozen dataclass, each field with a default


def _lan() -> FabricKind:
    from hivelearn.swarm.fabrics.lan import open_lan
    from hivelearn.swarm.fabrics.lan_options import LanOptions

    return FabricKind(open_lan, LanOptions)


def _memory() -> FabricKind:
    from hivelearn.swarm.fabrics.memory import MemoryOptions, open_memory

    return FabricKind(open_memory, MemoryOptions)


FABRICS: Final[dict[str, Callable[[], FabricKind]]] = {"lan": _lan, "memory": _memory}
IN_PROCESS: Final = frozenset({"memory"})  # they join nodes of one process and nobody else
_LATER: Final = ("hyperswarm", "libp2p")


def fabric_kind(name: str) -> FabricKind:
    """Return a row of the table.

    Raises:
        UsageError: no such fabric here, or one whose library is not installed.
    """
    if name not in FABRICS:
        later = " It comes in a later release." if name in _LATER else ""
        raise UsageError(
            f"there is no fabric {name!r} in this installation.{later}",
            remedy=f"Use one of: {', '.join(sorted(FABRICS))}.",
        )
    try:
        return FABRICS[name]()
    except ModuleNotFoundError as error:
        raise UsageError(
            f"fabric {name!r} needs the package {error.name!r}, which is not installed",
            remedy=f"pip install {error.name}",
        ) from error


def fabric_options(name: str, stated: Mapping[str, Any]) -> Any:
    """Return a fabric's options: those that are stated, the others by default.

    Raises:
        UsageError: no such fabric, an option that it does not have, or a value that cannot be.
    """
    options = fabric_kind(name).options
    has = [field.name for field in fields(options)]
    unknown = sorted(stated.keys() - set(has))
    if unknown:
        raise UsageError(
            f"the fabric {name!r} has no option {unknown[0]!r}",
            remedy=f"It has: {', '.join(has)}." if has else "It has none.",
        )
    return options(**stated)


def open_fabric(name: str, device_seed: bytes, options: Any = None) -> Fabric:
    """Return a fabric by name, not yet started.

    Args:
        name: a row of the table.
        device_seed: 32 bytes, the seed of the device key.
        options: a record of that fabric's own; its defaults if None.

    Raises:
        UsageError: no such fabric here, or the options are another fabric's.
    """
    kind = fabric_kind(name)
    if options is None:
        options = kind.options()
    if not isinstance(options, kind.options):
        raise UsageError(
            f"the fabric {name!r} takes {kind.options.__name__}, not {type(options).__name__}",
            remedy="Make the options with fabric_options(name, {...}).",
        )
    return kind.open(device_seed, options)
