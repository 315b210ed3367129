"""Which adapters a mergekit file names, and on which base: every notation, one meaning.

mergekit writes a model with an adapter as ``base+adapter`` or as a mapping, and either where
a model may stand. Bases are not opened: it only counts which of the models is a base itself.
Paths are relative to the file, else to the working directory, as mergekit takes them.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hivelearn.merging.errors import MergeError
from hivelearn.merging.recipe.mergekit_values import unfit
from hivelearn.patch.peft_config import CONFIG_FILE
from hivelearn.printable import shown

_PARTS: Final = frozenset({"model", "lora", "override_architecture"})


@dataclass(frozen=True, slots=True)
class ModelRef:
    """One model: a base, an adapter, or an adapter on a base that is named, too."""

    base: str | None
    adapter: str | None

    def __str__(self) -> str:
        """Write it as mergekit does."""
        return "+".join(part for part in (self.base, self.adapter) if part is not None)


@dataclass(frozen=True, slots=True)
class Row:
    """A model of the file with the parameters that stand under it."""

    model: ModelRef
    own: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the paths of one file are looked for."""

    folder: Path | None = None  # of the file; None: there is none

    def reference(self, value: Any, what: str) -> ModelRef:
        """Return the model that stands under ``what``; a lone path counts as an adapter.

        Raises:
            MergeError: it is neither a path nor mergekit's mapping.
        """
        if isinstance(value, Mapping):
            return self._mapped(value, what)
        if not _is_path(value):
            raise unfit(f"{what} {shown(value)} is no path")
        path = self._place(value)
        base, plus, adapter = value.rpartition("+")  # a folder may have a + in its name
        if not plus or _exists(path):
            return ModelRef(None, path)
        if not base or not adapter:
            raise unfit(f"{what} {shown(value)} lacks what is before or behind its +")
        return ModelRef(self._place(base), self._place(adapter))

    def base_model(self, value: Any) -> ModelRef:
        """Return the file's base_model: here a lone path is a base, unless an adapter lies there.

        Raises:
            MergeError: see :meth:`reference`.
        """
        found = self.reference(value, "base_model")
        if found.base is not None or found.adapter is None:
            return found
        if _exists(str(Path(found.adapter) / CONFIG_FILE)):
            return found
        return ModelRef(found.adapter, None)

    def _mapped(self, value: Mapping[Any, Any], what: str) -> ModelRef:
        for name in sorted(map(shown, value.keys() - _PARTS)):
            raise unfit(f"{name} of {what} is unknown")
        if value.get("override_architecture") is not None:
            raise unfit(f"override_architecture of {what} says how to open a whole model")
        base, adapter = (
            self._part(value.get(name), f"{name} of {what}") for name in ("model", "lora")
        )
        if base is None:
            raise unfit(f"{what} names no model")
        return ModelRef(None, base) if adapter is None else ModelRef(base, adapter)

    def _part(self, value: Any, what: str) -> str | None:
        """Return a path that is written alone, or as ``{path, revision}``."""
        if isinstance(value, Mapping):
            for name in sorted(map(shown, value.keys() - {"path", "revision"})):
                raise unfit(f"{name} of {what} is unknown")
            if value.get("revision") is not None:
                raise unfit(f"revision of {what} says what to download, and folders are read here")
            value = value.get("path")
        if value is None:
            return None
        if not _is_path(value):
            raise unfit(f"{what} {shown(value)} is no path")
        return self._place(value)

    def _place(self, text: str) -> str:
        """Return a path as it is compared and opened: without ``~`` and last slashes."""
        try:
            os.fsencode(text)
        except UnicodeEncodeError:  # the file says ö, and this process knows only ASCII names
            text = os.fsdecode(text.encode(errors="replace"))
        try:
            path = Path(text).expanduser()
        except RuntimeError:
            raise unfit(f"{shown(text)} begins in a home that is not there") from None
        if self.folder is not None and not path.is_absolute() and _exists(str(self.folder / path)):
            path = self.folder / path
        return str(path)


def unsliced(slices: Any) -> tuple[list[dict[str, Any]], str]:
    """Return the models of a file's ``slices`` as it could list them, and what is told of it.

    One slice from layer 0 on is a whole model, as most files for slerp have it. Others build a
    model of pieces.

    Raises:
        MergeError: it is no such slice.
    """
    remedy = "Write models: instead of slices:, if all layers are to be merged alike."
    one = slices[0] if isinstance(slices, list) and len(slices) == 1 else None
    if not isinstance(one, Mapping) or not one.keys() <= {"sources", "parameters"}:
        raise unfit("slices build a model of pieces, and an adapter has none", remedy)
    sources, shared = one.get("sources"), one.get("parameters") or {}
    if not isinstance(sources, list) or not sources or not all(map(_is_mapping, sources)):
        raise unfit("slices list no models", remedy)
    if not isinstance(shared, Mapping):
        raise unfit("parameters of slices is no mapping", remedy)
    layers = sources[0].get("layer_range")
    if any(row.get("layer_range") != layers for row in sources) or not _is_whole(layers):
        raise unfit("slices take other layers of one model than of another, or not all", remedy)
    rows = [{name: row[name] for name in row if name != "layer_range"} for row in sources]
    for row in rows:
        own = row.get("parameters") or {}
        row["parameters"] = {**shared, **own} if isinstance(own, Mapping) else own
    return rows, f"slices: layers 0 to {layers[1] - 1} are taken for all that there are"


def _is_mapping(row: Any) -> bool:
    return isinstance(row, Mapping)


def _is_whole(layers: Any) -> bool:
    ends = isinstance(layers, list) and [type(end) for end in layers] == [int, int]
    return ends and layers[0] == 0 and layers[1] > 0


def bases_of(models: Iterable[ModelRef]) -> tuple[str, ...]:
    """Return the bases that are named, each once, sorted."""
    return tuple(sorted({one.base for one in models if one.base is not None}))


def refuse_absent(paths: Iterable[str]) -> None:
    """Raise MergeError at the first adapter that is no folder of this machine."""
    for path in paths:
        if not _exists(path):
            raise MergeError(
                f"{path} is no folder, neither beside the file nor in the working directory",
                remedy="mergekit would look for it on the Hub: download it first (`hf download "
                "NAME --local-dir FOLDER`), and write the folder.",
            )


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a name too long is not there
        return False
