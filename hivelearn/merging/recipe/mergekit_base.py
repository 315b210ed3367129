"""What mergekit's ``base_model`` means to each method, when there are only adapters.

The deltas that are merged here are what remains of the models when the bare base is taken
away. Where base_model is that base, its own delta is zero. Where it is the base with an
adapter, its delta is that adapter's: the result is told as a delta of the bare base all
the same, and what cannot be told so is refused.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hivelearn.merging.recipe.mergekit_models import ModelRef, Row, bases_of
from hivelearn.merging.recipe.mergekit_values import flag, number, unfit
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.recipe.schedule import Schedule
from hivelearn.printable import shown

_BARE: str | None = None  # the adapter of a model that is a base and nothing more


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be merged, once the base has been reckoned with.

    Attributes:
        rows: the models that have a delta.
        zero: what a delta of zero weighs beside them; only linear counts it.
        origin: the adapter from which task vectors are taken, if base_model has one.
    """

    method: str
    rows: tuple[Row, ...]
    shared: Mapping[str, Any]
    zero: Schedule = 0.0
    origin: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The adapters to open, in the order of the recipe's weights."""
        found = [row.model.adapter for row in self.rows]
        return tuple(path for path in (*found, self.origin) if path is not None)


def against_base(
    method: str, rows: Sequence[Row], base: ModelRef | None, shared: Mapping[str, Any]
) -> Asked:
    """Return what is to be merged of ``rows``, the models of a file with this base_model.

    Raises:
        MergeError: the method makes something of its base that no adapter can be.
    """
    notes = _notes(rows, base)
    bare = [row for row in rows if row.model.adapter is _BARE]
    if base is None or (base.adapter is not None and bare):
        _refuse_bare(method, bare)
    own = base.adapter if base is not None else _BARE
    theirs = [row for row in rows if base is not None and row.model.adapter == own]
    rest = [row for row in rows if row not in theirs and row not in bare]
    if method == "linear":
        return _linear(rest, bare, theirs, base, shared, notes)
    if base is None:
        return Asked(method, tuple(rest), shared, notes=notes)
    if method == "slerp":
        if own is None or not theirs:
            raise unfit("slerp runs from base_model, which is not among the models")
        return Asked(method, (*theirs, *rest), shared, notes=notes)
    if method == "karcher":
        raise unfit("karcher takes base_model for one more point, and its delta has no direction")
    if not rest:
        raise unfit("it lists no models but base_model")
    notes += tuple(
        f"{shown(name)} of base_model changes nothing: {method} takes differences from it"
        for row in theirs
        for name in sorted(row.own)
    )
    if own is not None and method != "task_arithmetic":
        raise unfit(
            f"base_model has an adapter, and {method} takes differences from it",
            remedy="Name the bare base as base_model, or use task_arithmetic, linear or slerp.",
        )
    return Asked(method, tuple(rest), shared, origin=own, notes=notes)


def _notes(rows: Sequence[Row], base: ModelRef | None) -> tuple[str, ...]:
    bases = bases_of([*(row.model for row in rows), *([base] if base else [])])
    if len(bases) < 2:  # noqa: PLR2004 - two names
        return ()
    return (f"{' and '.join(map(shown, bases))} are taken for one base: adapters name no weights",)


def _refuse_bare(method: str, bare: Sequence[Row]) -> None:
    if bare and method != "linear":
        raise unfit(f"{shown(bare[0].model.base)} is a base without an adapter among the models")


def _linear(
    rest: Sequence[Row],
    bare: Sequence[Row],
    theirs: Sequence[Row],
    base: ModelRef | None,
    shared: Mapping[str, Any],
    notes: tuple[str, ...],
) -> Asked:
    """Return a mean in which every model counts, base_model too, whether listed or not.

    A model that is half base has half the delta: a bare base weighs as a delta of zero.
    """
    if base is not None and not theirs:
        theirs = [Row(base, {})]
    zeros = list(bare) or [row for row in theirs if row.model.adapter is _BARE]
    tuned = [*rest, *(row for row in theirs if row.model.adapter is not _BARE)]
    if not tuned:
        raise unfit("it lists no models but base_model")
    zero: Schedule = 0.0
    for row in zeros:
        for name in sorted(row.own.keys() - {"weight", "int8_mask"}):
            raise unfit(f"linear takes no {shown(name)} of {shown(row.model.base)}")
        weight = {**shared, **row.own}.get("weight")
        if weight is None:
            raise unfit("linear counts base_model as one more model, and it has no weight")
        found = number(weight, "weight")
        plain = isinstance(found, float) and isinstance(zero, float)
        zero = zero + found if plain else found  # type: ignore[operator]
    if not flag(shared, "normalize", default=True):
        zero = 0.0
    return Asked("linear", tuple(tuned), shared, zero, notes=notes)


def diluted(weights: tuple[Schedule, ...], zero: Schedule) -> tuple[float, ...]:
    """Return the weights of a sum that is the mean in which a zero delta weighs ``zero``."""
    plain = [weight for weight in (*weights, zero) if isinstance(weight, float)]
    if not weights or len(plain) <= len(weights):
        raise unfit("linear counts base_model, and then every weight must be one plain number")
    total = math.fsum(plain)
    if not abs(total) > 1e-6 * math.fsum(map(abs, plain)):
        raise unfit("the weights cancel, so there is no mean to speak of")
    return tuple(weight / total for weight in plain[:-1])


def rebased(recipe: MergeRecipe, count: int) -> MergeRecipe:
    """Return task arithmetic on ``count`` models from an adapter, which stands behind them.

    With task vectors from a, ``a + lambda · sum of w · (b - a)`` is a sum of b and a again.
    """
    weights = recipe.weights or (1.0,) * count
    lam = recipe.settings.get("lam", 1.0)
    if recipe.method == "linear":  # a mean of differences, added to where they start
        return MergeRecipe("linear", (*weights, 0.0), allow_negative=recipe.allow_negative)
    plain = [weight for weight in weights if isinstance(weight, float)]
    if len(plain) != len(weights) or not isinstance(lam, float):
        raise unfit("base_model has an adapter, and then every weight must be one plain number")
    ours = [lam * weight for weight in plain]
    whole = (*ours, 1.0 - math.fsum(ours))
    return MergeRecipe("task_arithmetic", whole, allow_negative=min(whole) < 0)
