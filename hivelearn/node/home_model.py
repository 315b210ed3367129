"""Which model a home belongs to: named once, then remembered.

Corrections, generations and patches belong to one base model. A home that forgot it
would answer with the nano model at the next call without a word. So the first model
that is opened in a home is written down there; later calls without a model take it,
and one that names another is told so and gets what it asks for (bases are kept apart
by their fingerprints).
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hivelearn.errors import UsageError
from hivelearn.files import write_whole
from hivelearn.inference.errors import NoModelError
from hivelearn.inference.model_folder import NANO, resolve_model

FILE: Final = "model.json"
NANO_NAME: Final = "embedded nano model"
_IN_HOME: Final = "home:"  # before a path inside the home, which may be moved
_BYTES_MAX: Final = 1 << 16
_log = logging.getLogger("hivelearn.model")


class RememberedModelError(UsageError):
    """What the home remembers of its model cannot be used."""

    remedy = "Bring it back, or name the model: --model, hl.Node(model)."


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model of one node, and how it was named."""

    folder: Path
    name: str  # for people
    source: str | None  # as a home remembers it; None: nobody named a model
    remembered: str | None  # by the home


def choose(model: str | Path | None, home: Path, tell: Callable[[str], None]) -> ModelChoice:
    """Return the model that a caller named, else the one that the home remembers, else nano.

    Args:
        model: as for :func:`resolve_model`.
        home: the directory of an open home.
        tell: hears what takes long.

    Raises:
        NoModelError: it is not here.
        RememberedModelError: nobody named one, and the remembered one is not here.
    """
    if model is not None:
        folder = resolve_model(model, tell)
        source, kept = _portable(model, home), _read_or_none(home)
        if kept not in (None, source):
            _log.warning(
                "this home remembers the model %s; %s is used this time (to change it, remove %s)",
                kept,
                source,
                home / FILE,
            )
        return ModelChoice(folder, _shown(source, folder), source, kept)
    kept = read(home)
    if kept is None:
        return ModelChoice(NANO, NANO_NAME, None, None)
    where = home / kept.removeprefix(_IN_HOME) if kept.startswith(_IN_HOME) else kept
    try:
        folder = resolve_model(where, tell)
    except NoModelError as error:
        raise RememberedModelError(f"this home remembers the model {kept}: {error.what}") from None
    return ModelChoice(folder, _shown(kept, folder), kept, kept)


def read(home: Path) -> str | None:
    """Return the model that the home remembers, or None.

    Raises:
        RememberedModelError: something is written there that cannot be read: to pass over
            it would mean another model.
    """
    path = home / FILE
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(_BYTES_MAX))["model"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise RememberedModelError(
            f"{path} cannot be read: {error}", remedy="Remove it, and name the model once more."
        ) from None
    if not isinstance(said, str) or not said:
        raise RememberedModelError(
            f"{path} names no model", remedy="Remove it, and name the model once more."
        )
    return said


def remember(home: Path, choice: ModelChoice) -> str | None:
    """Write down the model that was named, if the home remembers none; return what it remembers.

    Raises:
        DiskError: the home cannot be written.
    """
    if choice.source is None or choice.remembered is not None:
        return choice.remembered
    write_whole(home / FILE, json.dumps({"model": choice.source}).encode())
    return choice.source


def _read_or_none(home: Path) -> str | None:
    try:
        return read(home)
    except RememberedModelError:
        return None  # somebody named a model, which will be written there


def _portable(model: str | Path, home: Path) -> str:
    """Return a name that leads to the same model from any directory, and from a moved home."""
    path = Path(model).expanduser()
    if not path.exists():
        return str(model)
    whole, base = path.resolve(), home.resolve()
    if whole.is_relative_to(base):
        return _IN_HOME + whole.relative_to(base).as_posix()
    return str(whole)


def _shown(source: str, folder: Path) -> str:
    if folder == NANO:
        return NANO_NAME
    return source.removeprefix(_IN_HOME).rsplit("/", 1)[-1]
