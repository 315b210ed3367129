"""A merge applied to a whole model: dense deltas go into its weights, without loss.

A TIES merge of deltas is not low-rank (at rank 16 recompression lost .64 of it),
so its honest result is a model, not an adapter. The checkpoint is copied tensor
by tensor, header and all; what a merged module names is changed on the way. One
tensor is in memory at a time.
"""

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.sources import Mergeable
from hivelearn.merging.files.spelling import opened_as_one, tell_strangers
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
from hivelearn.merging.targets.folder import FolderTarget
from hivelearn.merging.targets.open_model import InputOf, OpenTarget
from hivelearn.printable import shown
from hivelearn.report.progress import Progress

Target: TypeAlias = FolderTarget | OpenTarget


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
        sources: as for :func:`hivelearn.merging.merge.merge`; their modules are matched to
            the model's by transformers' own tables, however they are spelled.
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
        if isinstance(base, str | os.PathLike):
            target: Target = FolderTarget(Path(base), options.out)
        else:
            target = OpenTarget(base)
        plan = make_plan(opened_as_one(sources, target.names), recipe, options.trust)
        tell_strangers(plan.sources)
        return _merge_into(target, plan, options)


def _merge_into(target: Target, plan: MergePlan, options: MergeOptions) -> Any:
    input_of = _input_of(plan)
    with Progress(options.progress, f"merge {plan.op.name}", len(plan.modules)) as shown:
        done = count(1)

        def change(module: str, weight: Tensor) -> None:
            shown.at(next(done), module)
            with plan.naming_errors(module):
                plan.refuse_broken(module)  # rows are added as they come; nothing looks at them
                _add(weight, plan, input_of(module))

        return target.merge(plan, input_of, change)


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
