"""A merge goes into a model's folder: a new folder is written, tensor by tensor, header and all."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files import checkpoint
from hivelearn.merging.files.checkpoint import FLOATS, Change
from hivelearn.merging.files.place import unwritable
from hivelearn.merging.run.plan import MergePlan
from hivelearn.merging.targets.misfits import (
    is_transposed,
    quantised,
    refuse_misfit,
    refuse_shared,
    unknown,
)
from hivelearn.merging.targets.open_model import InputOf
from hivelearn.patch import fingerprint
from hivelearn.patch.model_names import ModelNames
from hivelearn.patch.module_names import core

_WEIGHT: Final = ".weight"


class FolderTarget:
    """A model on disk whose copy a merge is added to."""

    def __init__(self, base: Path, out: str | Path | None) -> None:
        """Judge both folders; nothing is written yet.

        Args:
            base: the model's folder.
            out: where the merged model goes.
        """
        if out is None:
            raise MergeError(
                "nowhere to write the merged model", remedy="Give hl.MergeOptions(out=folder)."
            )
        self._base, self._out = base, Path(out)
        self._files = checkpoint.files_of(base)
        _refuse_taken(self._out)
        self._rows = {n: r for file in self._files for n, r in checkpoint.header(file)[0].items()}
        self._skeleton = checkpoint.skeleton(base)
        self.names = ModelNames.of(self._skeleton)

    def merge(self, plan: MergePlan, _input_of: InputOf, change: Change) -> Path:
        """Write the model with every module of the plan changed; return its folder."""
        out, tensors = self._out, self._tensors(plan)
        _refuse_foreign(self._base, plan)
        others = checkpoint.others_of(self._base)
        made, written = not out.exists(), list[Path]()
        try:
            out.mkdir(parents=True, exist_ok=True)
            for file in self._files:
                with _new(out / file.name, written) as stream:
                    checkpoint.copy_weights(file, stream, tensors, change)
            for file in others:
                with _new(out / file.name, written) as stream:
                    checkpoint.copy_whole(file, stream)
        except BaseException as error:
            _clear(out, written, folder_too=made)  # half a model would load as a wrong one
            if isinstance(error, OSError):
                raise unwritable(out, error) from None
            raise
        return out

    def _tensors(self, plan: MergePlan) -> dict[str, tuple[str, bool]]:
        """Return tensor on disk to (module, transposed) for all that will change."""
        refuse_shared(self._skeleton, plan.modules)
        places = dict(self._skeleton.named_modules())
        lies = self._whole_tensors()
        found = {}
        for module in plan.modules:
            name = lies.get(module + _WEIGHT) or self._expert(module)
            if name is None:
                raise self._missing(module)
            if self._rows[name]["dtype"] not in FLOATS:
                raise quantised(module)
            transposed, shape = is_transposed(places.get(module)), self._rows[name]["shape"]
            refuse_misfit(module, shape[::-1] if transposed else shape, plan.shape(module))
            found[name] = (module, transposed)
        return found

    def _whole_tensors(self) -> dict[str, str]:
        """Return tensor in memory to tensor on disk, where one is the other under another name."""
        renamed = ((name, *self.names.in_memory(name)) for name in self._rows)
        return {memory: name for name, memory, part in renamed if not part}

    def _expert(self, module: str) -> str | None:
        """Return the tensor on disk of a module that is a part of one in memory."""
        if self.names.part_of(module) is None:
            return None
        wanted = core(module + _WEIGHT)
        return next((name for name in self._rows if core(name) == wanted), None)

    def _missing(self, module: str) -> MergeError:
        if not self.names.has(module):
            return unknown(module)
        return MergeError(
            f"transformers makes the weight of {module} from others on disk",
            remedy="Open the model, merge into it (hl.merge_into(model, ...)), and save it.",
        )


def _refuse_foreign(base: Path, plan: MergePlan) -> None:
    """Refuse a base that is not the one that the sources name, as far as any names one."""
    known = {source.base for source in plan.sources if source.base is not None}
    if not known:
        return
    try:
        found = fingerprint.of_folder(base)
    except fingerprint.NoFingerprintError as error:
        raise MergeError(error.what, remedy=error.remedy) from None
    if known != {found}:
        raise MergeError(
            f"the adapters belong to another model than {base}",
            remedy="Merge into the model that the adapters were trained on.",
        )


def _refuse_taken(out: Path) -> None:
    try:
        taken = out.exists() and any(out.iterdir())
    except OSError as error:  # a file, or a folder that may not be looked into
        raise unwritable(out, error) from None
    if taken:
        raise MergeError(f"{out} is not empty", remedy="Give a folder that is new or empty.")


def _new(path: Path, written: list[Path]) -> IO[bytes]:
    """Make a file that nobody else has made, and note that it is ours."""
    stream = path.open("xb")
    written.append(path)
    return stream


def _clear(out: Path, written: Sequence[Path], *, folder_too: bool) -> None:
    """Remove what was written, and nothing else: ``out`` may be a link, or shared."""
    for path in written:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    if folder_too:
        with suppress(OSError):
            out.rmdir()
