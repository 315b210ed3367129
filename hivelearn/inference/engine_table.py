"""Engines by name: what ``hl.Node(model, engine=...)`` may say, and how each is opened.

An engine is a function from a folder, its fingerprint and options to an
:class:`~hivelearn.inference.engine.Engine`. Those that come with hivelearn are
rows of the table here and load on first use; others call :func:`register_engine`.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final, TypeAlias

from hivelearn.errors import UsageError
from hivelearn.inference.engine import Engine, EngineOptions

EngineOpener: TypeAlias = Callable[[Path, bytes, EngineOptions | None], Engine]

DEFAULT_ENGINE: Final = "resident"
_MODULES: Final = {"resident": "hivelearn.inference.resident"}  # each has an `open_engine`
_registered: Final[dict[str, EngineOpener]] = {}


def engine_names() -> list[str]:
    """Return the names that :func:`open_engine` knows, sorted."""
    return sorted({*_MODULES, *_registered})


def register_engine(name: str, opener: EngineOpener) -> None:
    """Let ``name`` open models by ``opener``, in this process.

    Args:
        name: none that is taken already.
        opener: takes the folder of the model, its 32-byte fingerprint and the options
            that the node was given, or None; raises UsageError for options of others.

    Raises:
        UsageError: the name belongs to another engine.
    """
    if name in _MODULES or _registered.get(name, opener) is not opener:
        raise UsageError(
            f"the name {name!r} belongs to another engine",
            remedy=f"Take one beside {', '.join(engine_names())}.",
        )
    _registered[name] = opener


def open_engine(
    name: str, folder: Path, base: bytes, options: EngineOptions | None = None
) -> Engine:
    """Open the model in ``folder``.

    Args:
        name: a row of the table, or one that was registered.
        folder: of a causal language model.
        base: its 32-byte fingerprint.
        options: of this engine; None takes its defaults.

    Raises:
        UsageError: no such engine here, or options of another one.
        NoModelError: the folder holds no model that it can open.
    """
    if name in _registered:
        return _registered[name](folder, base, options)
    if name not in _MODULES:
        raise UsageError(
            f"there is no engine {name!r} in this installation",
            remedy=f"Use one of: {', '.join(engine_names())}.",
        )
    opened: Engine = import_module(_MODULES[name]).open_engine(folder, base, options)
    return opened
