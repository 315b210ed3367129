"""One merge from its sources to its adapter and report, module by module.

Read :func:`run_merge` top to bottom. Beyond the inputs, which are mapped files if
they are folders, only one module's stack is in memory.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from hivelearn.merging.files.place import refuse_place
from hivelearn.merging.files.sink import (
    FolderSink,
    MemorySink,
    dtype_of,
    refuse_impossible,
)
from hivelearn.merging.files.sources import Mergeable
from hivelearn.merging.files.spelling import opened_as_one, tell_strangers
from hivelearn.merging.lowrank.factors import Size
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.run import one_module
from hivelearn.merging.run.coefficients import adapter_wide, module_input, whole_coefficients
from hivelearn.merging.run.options import MergeOptions
from hivelearn.merging.run.plan import MergePlan, make_plan
from hivelearn.merging.run.report import ReportBuilder
from hivelearn.merging.run.survey import Survey, take_survey
from hivelearn.merging.run.torch_defaults import torch_defaults
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.folder import written
from hivelearn.patch.model_card import ModelCard, write_card
from hivelearn.report.merge_report import MergeReport
from hivelearn.report.progress import Progress


def run_merge(
    sources: Sequence[Mergeable], recipe: MergeRecipe, options: MergeOptions
) -> tuple[Adapter, MergeReport]:
    """Merge as ``recipe`` says; return the adapter with the report of its making.

    Raises:
        MergeError: settings or sources that cannot be merged, with the reason.
        AdapterError: a folder or model that is no plain LoRA.
    """
    with torch_defaults():
        opened = opened_as_one(sources, options.model)
        if options.out is not None:
            refuse_place(Path(options.out), opened)
        plan = make_plan(opened, recipe, options.trust)
        return _walk(plan, options, tell_strangers(plan.sources))


def _walk(
    plan: MergePlan, options: MergeOptions, notes: tuple[str, ...]
) -> tuple[Adapter, MergeReport]:
    """Look at all sources if it must, then merge module by module."""
    wide, report = adapter_wide(plan), ReportBuilder(plan)
    study = wide or options.study
    passes = (1 + study) * len(plan.modules)
    with (
        Progress(options.progress, f"merge {plan.recipe.method}", passes) as progress,
        _sink(plan, options) as sink,
    ):
        done = count(1)
        survey = whole = None
        if study:
            survey = take_survey(plan, lambda module: progress.at(next(done), module))
        if wide and survey is not None:
            with plan.naming_errors(None):
                whole = whole_coefficients(plan, survey)
        for module in plan.modules:
            sink.put(module, *_merge_module(plan, module, survey, whole, report))
            progress.at(next(done), module)
        adapter = sink.close()
    if options.out is not None and plan.recipe.energy is not None:
        adapter.save(options.out)
    told = replace(report.build(survey, adapter.rank), notes=notes)
    if options.out is not None:
        with written(Path(options.out)):
            write_card(Path(options.out), _card(adapter, told))
    return adapter, told


def _card(adapter: Adapter, report: MergeReport) -> ModelCard:
    """Return the card of a merge: its method, its figures and what went in."""
    plain = adapter.card()
    facts = {
        "method": report.method,
        **plain.facts,
        "lost to recompression": f"{report.error:.2%}",
        "recipe": report.recipe,
    }
    weights = [f"{weight:.4g}" for weight in report.weights]
    parts = list(zip(report.sources, weights, strict=True))
    tags = ("merge", report.method)
    return ModelCard("Merged LoRA adapter", plain.origin, facts, tags=tags, parts=parts)


def _merge_module(
    plan: MergePlan,
    module: str,
    survey: Survey | None,
    whole: Tensor | None,
    report: ReportBuilder,
) -> tuple[Tensor, Tensor]:
    """Merge one module, tell the report how it went, and return its factors."""
    with plan.naming_errors(module):
        found = module_input(plan, module, survey, whole)
        if not found.loras:  # nobody has a weight in this module, so it stays as it is
            d_out, d_in = plan.shape(module)
            report.add_untouched(module)
            return torch.zeros(1, d_in), torch.zeros(d_out, 1)
        size = Size(plan.rank, plan.recipe.energy or 1.0)
        made = one_module.merge_factors(plan.op, found.loras, found.settings, size)
    report.add(module, found.coefficients, made)
    return made.a, made.b


def _sink(plan: MergePlan, options: MergeOptions) -> MemorySink | FolderSink:
    dtype = dtype_of(options.dtype)
    rank = plan.rank if plan.recipe.energy is None else None  # an energy's: known at the end only
    refuse_impossible(plan.modules, rank)
    if options.out is None or rank is None:
        return MemorySink(plan.base, dtype, rank, plan.origin)
    shapes = {module: plan.shape(module) for module in plan.modules}
    return FolderSink(Path(options.out), shapes, rank, dtype, plan.base, plan.origin)
