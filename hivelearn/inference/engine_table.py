"""The engines by name, and the options that each of them has.

A row names an opener and a frozen record of options, and is looked at on use: an
engine loads torch when a model is opened, not when a home is read. The record says
what may be chosen and refuses what cannot be; nobody else knows its fields.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from hivelearn.errors import UsageError
from hivelearn.inference.engine import Engine

# Called once the model is open: to hash a folder that holds no model would be wasted.
Fingerprint: TypeAlias = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class EngineKind:
    """One row: how an engine is opened, and by what options."""

    open: Callable[[Path, Fingerprint, Any], Engine]  # (folder, fingerprint, options)
    options: type[Any]  # a frozen dataclass, each field with a default


def _resident() -> EngineKind:
    from hivelearn.inference.resident_options import ResidentOptions

    def opened(folder: Path, fingerprint: Fingerprint, options: ResidentOptions) -> Engine:
        from hivelearn.inference.resident import open_resident

        return open_resident(folder, fingerprint, options)

    return EngineKind(opened, ResidentOptions)


ENGINES: Final[dict[str, Callable[[], EngineKind]]] = {"resident": _resident}


def engine_kind(name: str) -> EngineKind:
    """Return a row of the table.

    Raises:
        UsageError: no such engine here.
    """
    if name not in ENGINES:
        raise UsageError(
            f"there is no engine {name!r} in this installation",
            remedy=f"Use one of: {', '.join(sorted(ENGINES))}.",
        )
    return ENGINES[name]()


def open_engine(name: str, folder: Path, fingerprint: Fingerprint, options: Any = None) -> Engine:
    """Open the model in ``folder``.

    Args:
        name: a row of the table.
        folder: of a causal language model.
        fingerprint: returns its 32-byte fingerprint.
        options: a record of that engine's own; its defaults if None.

    Raises:
        UsageError: no such engine here, or the options are another engine's.
        NoModelError: the folder holds no model that it can open.
    """
    kind = engine_kind(name)
    options = kind.options() if options is None else options
    check_engine_options(name, options)
    return kind.open(folder, fingerprint, options)


def check_engine_options(name: str, options: Any) -> None:
    """Raise UsageError unless ``options`` are a record of that engine's own."""
    kind = engine_kind(name)
    if not isinstance(options, kind.options):
        raise UsageError(
            f"the engine {name!r} takes {kind.options.__name__}, not {type(options).__name__}",
            remedy="Give its options by name: hl.Node(model, device='cpu').",
        )
