"""A merge applied to a whole model: dense deltas go into its weights, without loss.

A TIES merge of deltas is not low-rank (at rank 16 recompression lost .64 of it),
so its honest result is a model, not an adapter. The checkpoint is copied tensor
by tensor, header and all; what a merged module names is changed on the way. One
tensor is in memory at a time.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Any, Final

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files import checkpoint
from hivelearn.merging.files.checkpoint import FLOATS, Change
from hivelearn.merging.files.place import unwritable
from hivelearn.merging.files.sources import Mergeable, open_all
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.run import one_module
from hivelearn.merging.run.coefficients import (
    ModuleInput,
    adapter_wide,
    module_input,
    whole_coefficients,
)
from hivelearn.merging.run.options import MergeOptions
from hivelearn.merging.run.plan import MergePlan, make_plan
from hivelearn.merging.run.survey import take_survey
from hivelearn.merging.run.torch_defaults import torch_defaults
from hivelearn.patch import fingerprint
from hivelearn.printable import shown
from hivelearn.report.progress import Progress

InputOf = Callable[[str], ModuleInput]  # a module's name to what the method gets of it

_OPEN: Final = frozenset(FLOATS.values())


def merge_into(
    base: Any,
    sources: Sequence[Mergeable],
    recipe: MergeRecipe,
    options: MergeOptions | None = None,
) -> Any:
    """Merge adapters and add the result to a model's weights.

    A folder is compared with the fingerprint that any of the sources names. An open
    model has none, so only names and shapes of its weights are compared: give the
    folder if you are not sure that the adapters belong to it.

    Everything that can be refused is refused before the first weight of an open model
    changes. What remains: an interruption (Ctrl-C, memory that runs out, an operator
    that finds no result) leaves the modules before it changed. There is no way back
    from there, since subtracting rounds; open the model again.

    Args:
        base: folder of a model with safetensors weights, or an open transformers model.
        sources: as for :func:`hivelearn.merging.merge.merge`.
        recipe: how; its rank and energy are not used, nothing is recompressed.
        options: ``options.out`` is the folder to write; an open model is changed in place.

    Returns:
        The folder that was written, as a Path, or the open model.

    Raises:
        MergeError: a module has no weight of its name and shape, or shares it with
            another; the sources belong to another model, or hold NaN; the model is
            quantised, damaged or not loaded; the folder cannot be written.
    """
    if not isinstance(recipe, MergeRecipe):
        raise MergeError(
            f"{shown(recipe)} is no recipe", remedy="Give hl.MergeRecipe('ties'), say."
        )
    if not isinstance(options, MergeOptions | None):
        raise MergeError(
            f"{shown(options)} is no MergeOptions",
            remedy="Give hl.MergeOptions(out='merged/'), say.",
        )
    options = options or MergeOptions()
    with torch_defaults():
        return _merge_into(base, make_plan(open_all(sources), recipe, options.trust), options)


def _merge_into(base: Any, plan: MergePlan, options: MergeOptions) -> Any:
    input_of = _input_of(plan)
    with Progress(options.progress, f"merge {plan.op.name}", len(plan.modules)) as shown:
        done = count(1)

        def change(module: str, weight: Tensor) -> None:
            shown.at(next(done), module)
            with plan.naming_errors(module):
                plan.refuse_broken(module)  # rows are added as they come; nothing looks at them
                _add(weight, plan, input_of(module))

        if isinstance(base, str | os.PathLike):
            return _folder(Path(base), plan, options, change)
        return _model(base, plan, input_of, change)


def _input_of(plan: MergePlan) -> InputOf:
    wide = adapter_wide(plan)
    survey = take_survey(plan, lambda _module: None) if wide else None
    whole = whole_coefficients(plan, survey) if survey is not None else None
    return lambda module: module_input(plan, module, survey, whole)


def _add(weight: Tensor, plan: MergePlan, found: ModuleInput) -> None:
    """Add the merged rows to ``weight``, (d_out, d_in) of any float type, rounding once."""
    if not found.loras:  # nobody has a weight in this module
        return
    wide = torch.promote_types(weight.dtype, torch.float32)
    for place, block in one_module.merge_rows(plan.op, found.loras, found.settings)():
        weight[place] = (weight[place].to(wide) + block.to(weight.device)).to(weight.dtype)


def _refuse_misfit(module: str, found: Sequence[int], plan: MergePlan) -> None:
    """Refuse a weight, ``found`` as (d_out, d_in), of another shape than the adapters'."""
    if tuple(found) != plan.shape(module):
        raise MergeError(
            f"{module} is {' x '.join(map(str, plan.shape(module)))} in the adapters and "
            f"{' x '.join(map(str, found))} in the model",
            remedy="Merge into the model that the adapters were trained on.",
        )


def _refuse_shared(model: Any, plan: MergePlan) -> None:
    """Refuse modules whose weight is another's too: what is added here would act there."""
    weights = model.named_parameters(remove_duplicate=False)
    names = {name: _place_of(weight) for name, weight in weights}
    times = Counter(names.values())
    for module in plan.modules:
        place = names.get(f"{module}.weight")
        if place is not None and times[place] > 1:
            other = next(n for n, at in names.items() if at == place and n != f"{module}.weight")
            raise MergeError(
                f"{module} shares its weight with {other.removesuffix('.weight')}, which would "
                "change with it",
                remedy="Leave that module out of the adapters, or keep the merge as an adapter.",
            )


def _place_of(weight: Tensor) -> int:
    # Two parameters may be tied by their numbers; on meta and in other libraries' classes
    # there is nothing to point to.
    plain = type(weight.data) is Tensor and not weight.is_meta
    return weight.data_ptr() if plain else id(weight)


def _model(model: Any, plan: MergePlan, input_of: InputOf, change: Change) -> Any:
    if not isinstance(model, torch.nn.Module):
        raise MergeError(
            f"a {type(model).__name__} is no model",
            remedy="Give the folder of a model, or an open transformers model.",
        )
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        raise MergeError(
            "the model is wrapped by PEFT, with an adapter of its own in it",
            remedy="Give model.unload(), the model without it; or merge the adapter with the "
            "others: hl.merge([model, ...]).",
        )
    places = dict(model.named_modules())
    weights = {module: _open_weight(places.get(module), module) for module in plan.modules}
    for module, weight in weights.items():
        _refuse_misfit(module, weight.shape, plan)
    _refuse_shared(model, plan)
    for module in plan.modules:
        plan.refuse_broken(module)
        input_of(module)  # weights that cancel are known before the first add
    with torch.no_grad():
        for module, weight in weights.items():
            change(module, weight)
    return model


def _open_weight(place: Any, module: str) -> Tensor:
    """Return the module's weight as (d_out, d_in), a view that can be added to."""
    held = getattr(place, "weight", None)
    if not isinstance(held, Tensor):
        raise _unknown(module)
    weight: Tensor = held.data
    if weight.is_meta:
        raise MergeError(
            f"the weight of {module} is not loaded (it is on the meta device)",
            remedy="Open the whole model, with device_map='cpu', or give its folder.",
        )
    # Libraries that quantise show a float type on tensors of their own class.
    if weight.dtype not in _OPEN or type(weight) is not Tensor:
        raise _quantised(module)
    return weight.mT if _is_transposed(place) else weight


def _is_transposed(module: Any) -> bool:
    return type(module).__name__ == "Conv1D"  # GPT-2 keeps (d_in, d_out)


def _unknown(module: str) -> MergeError:
    return MergeError(
        f"the model has no weight for {module}",
        remedy="Merge into the model that the adapters were trained on.",
    )


def _quantised(module: str) -> MergeError:
    return MergeError(
        f"{module} is quantised in the model, and a delta would be lost in its steps",
        remedy="Give the checkpoint in float32, bfloat16 or float16.",
    )


def _folder(base: Path, plan: MergePlan, options: MergeOptions, change: Change) -> Path:
    if options.out is None:
        raise MergeError(
            "nowhere to write the merged model", remedy="Give hl.MergeOptions(out=folder)."
        )
    out = Path(options.out)
    files = checkpoint.files_of(base)
    _refuse_taken(out)
    tensors = _tensor_names(base, plan, files)
    _refuse_foreign(base, plan)
    others = checkpoint.others_of(base)
    made, written = not out.exists(), list[Path]()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file in files:
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


def _tensor_names(
    base: Path, plan: MergePlan, files: Sequence[Path]
) -> dict[str, tuple[str, bool]]:
    """Return checkpoint name to (module, transposed) for all that will change."""
    rows = {name: row for file in files for name, row in checkpoint.header(file)[0].items()}
    model = checkpoint.skeleton(base)
    _refuse_shared(model, plan)
    places = dict(model.named_modules())
    prefix = f"{model.base_model_prefix}."
    found = {}
    for module in plan.modules:
        # A checkpoint may be of the inner model: GPT-2's is.
        name = next((n for n in (f"{module}.weight", f"{module.removeprefix(prefix)}.weight")
                     if n in rows), None)  # fmt: skip
        if name is None or module not in places:
            raise _unknown(module)
        if rows[name]["dtype"] not in FLOATS:
            raise _quantised(module)
        transposed, shape = _is_transposed(places[module]), rows[name]["shape"]
        _refuse_misfit(module, shape[::-1] if transposed else shape, plan)
        found[name] = (module, transposed)
    return found
