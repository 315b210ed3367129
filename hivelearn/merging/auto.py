"""``method="auto"``: try a few recipes, keep what scores best on held-out data, say why.

The list is short on purpose. Over twelve checkpoints and sixteen benchmarks only
the plain weighted sum gained reliably (arXiv:2511.21437), so it is tried at
several lengths; the others are the cheap ones that win when sources disagree in
direction, in sign, or in honesty.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.place import refuse_place
from hivelearn.merging.files.sources import Mergeable, open_all
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.run.options import MergeOptions
from hivelearn.merging.run.run import run_merge
from hivelearn.patch.adapter import Adapter
from hivelearn.printable import shown
from hivelearn.report.merge_report import MergeReport

Validate = Callable[[Adapter], float]  # a score on held-out data, higher is better

_LENGTHS: Final = (0.5, 1.0, 1.5, 2.0)  # of the mean; 1 is `linear`
_OTHERS: Final[tuple[tuple[str, dict[str, float], int], ...]] = (  # method, settings, sources
    ("karcher", {}, 2),
    ("core_ties", {"density": 0.2}, 2),
    ("core_ties", {"density": 0.5}, 2),
    ("robust", {}, 3),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe and what it scored; higher is better."""

    recipe: MergeRecipe
    score: float

    def __str__(self) -> str:
        """Tell the recipe as it is called, and its score."""
        settings = ", ".join(f"{name}={value:g}" for name, value in self.recipe.settings.items())
        return f"{self.recipe.method}({settings}) {self.score:.4g}"


def candidates(frame: MergeRecipe, count: int) -> list[MergeRecipe]:
    """Return the recipes to try on ``count`` sources, in the frame's rank and weights.

    Raises:
        MergeError: weights that differ by module or subtract, which not every method takes.
    """
    weights = frame.weights or (1.0,) * count
    plain = [weight for weight in weights if isinstance(weight, float) and weight >= 0.0]
    if len(plain) != len(weights) or not sum(plain):
        raise MergeError("'auto' takes one number ≥ 0 for each source as weights")
    shares = tuple(weight / sum(plain) for weight in plain)
    found = [
        replace(frame, method="task_arithmetic", weights=shares, params=(("lam", length),))
        for length in _LENGTHS
    ]
    for method, settings, least in _OTHERS:
        if count >= least:
            found.append(replace(frame, method=method, params=tuple(settings.items())))
    return found


def choose(
    sources: Sequence[Mergeable],
    validate: Validate | None,
    frame: MergeRecipe,
    options: MergeOptions,
) -> tuple[Adapter, MergeReport]:
    """Return the merge whose adapter scores best; the first of equals, so the simplest.

    Args:
        sources: as for :func:`hivelearn.merging.merge.merge`.
        validate: an adapter to its score on held-out data, higher is better. Asked once
            for each recipe and each source alone.
        frame: weights, rank, energy and seed of all recipes; its method is not used.
        options: of the one that is kept.

    Raises:
        MergeError: no ``validate``, or a score that is no finite number.
    """
    if validate is None:
        raise MergeError(
            "'auto' needs something to choose by",
            remedy="Pass validate=lambda adapter: ..., a score on held-out data, higher is better.",
        )
    if options.out is not None:  # known now, and not after all the trials
        refuse_place(Path(options.out), open_all(sources))
    quick = replace(options, out=None, dtype="float32", study=False, progress=False)
    trials = [
        Trial(recipe, _scored(validate, run_merge(sources, recipe, quick)[0]))
        for recipe in candidates(frame, len(sources))
    ]
    best = max(trials, key=lambda trial: trial.score)
    own, untrusted = MergeRecipe(rank=frame.rank, energy=frame.energy), replace(quick, trust=None)
    alone = [_scored(validate, run_merge([source], own, untrusted)[0]) for source in sources]
    adapter, report = run_merge(sources, best.recipe, options)
    return adapter, replace(report, why=_why(best, trials, alone))


def _scored(validate: Validate, adapter: Adapter) -> float:
    said = validate(adapter)
    try:
        score = float(said)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise MergeError(
            f"validate returned {shown(said)}", remedy="Return a finite number, higher for better."
        )
    return score


def _why(best: Trial, trials: Sequence[Trial], alone: Sequence[float]) -> str:
    tried = ", ".join(map(str, sorted(trials, key=lambda trial: -trial.score)))
    top = max(alone)
    place = alone.index(top)
    versus = (
        f"no lift: source {place} alone scores {top:.4g}"
        if top >= best.score
        else f"the best source alone (source {place}) scores {top:.4g}"
    )
    return f"chosen by held-out score: {best}; {versus}. Tried: {tried}."
