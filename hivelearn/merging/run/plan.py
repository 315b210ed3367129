"""Who takes part with what weight in which module: a recipe meets its sources.

Everything here is settled before any arithmetic: order, weights, settings. The
sources stand in the order of their content, since float sums depend on order
and two nodes with the same set must agree; those of weight 0 are gone.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from hivelearn.merging.deltas import LoraDelta, narrowed
from hivelearn.merging.errors import MergeError
from hivelearn.merging.files.sources import AdapterSource, octets
from hivelearn.merging.recipe.method_table import operator
from hivelearn.merging.recipe.operator import Operator
from hivelearn.merging.recipe.recipe import MergeRecipe, Rank
from hivelearn.merging.recipe.schedule import Schedule, depths_of, resolve
from hivelearn.patch.origin import Origin

_CANCEL: Final = 0.05  # weights whose sum is below this share of their sizes cancel


@dataclass(frozen=True, eq=False)
class MergePlan:
    """A recipe with its sources.

    Attributes:
        order: where each taking part stood in the caller's list, in content order.
        trust: one for each taking part, in (0, 1].
        withheld: places in the caller's list of those who got a weight and no trust: they
            are never read, but their weight counts where a method divides by the sum.
        modules: all that will be merged, sorted.
    """

    recipe: MergeRecipe
    op: Operator
    sources: tuple[AdapterSource, ...]
    order: tuple[int, ...]
    trust: tuple[float, ...]
    withheld: tuple[int, ...]
    modules: tuple[str, ...]
    depths: dict[str, float]

    @cached_property
    def rank(self) -> int:
        """The rank of the result, the most there may be if an energy chooses it."""
        ranks = [max(rank for *_, rank in source.shapes.values()) for source in self.sources]
        wanted: Rank = self.recipe.rank
        if isinstance(wanted, int):
            return wanted
        return sum(ranks) if wanted == "stack" or self.recipe.energy is not None else max(ranks)

    @property
    def base(self) -> bytes | None:
        """The model's fingerprint, if every source names it."""
        bases = {source.base for source in self.sources}
        return bases.pop() if len(bases) == 1 else None

    @property
    def origin(self) -> Origin:
        """The task and the model that every source names."""
        return Origin.common(source.origin for source in self.sources)

    def shape(self, module: str) -> tuple[int, int]:
        """Return (d_out, d_in) of a module."""
        d_out, d_in, _ = next(s.shapes[module] for s in self.sources if module in s.shapes)
        return d_out, d_in

    def weights(self, module: str) -> Tensor:
        """Return the recipe's weights for ``module`` times trust, (n,) float64."""
        return self._own(module) * torch.tensor(self.trust, dtype=torch.float64)

    def shares(self, module: str) -> tuple[Tensor, float]:
        """Return the weights divided by their sum, and the share of it that trust gives.

        What trust withholds stays where it was: a method that divides by the sum of
        weights is scaled by this share (1.0 without trust), so that what little is
        given is never blown up to all. A mean divides by the sum; methods that work entry
        by entry, where a negative weight means the negated delta, by the sum of sizes.

        Raises:
            MergeError: the weights of this module nearly cancel.
        """
        given = self.weights(module)
        if not bool(given.any()):
            return given, 0.0
        silent = torch.tensor([self._weight(n, module) for n in self.withheld]).double()
        whole = torch.cat([self._own(module), silent])
        if self.op.kind in ("stream", "core") or not self.op.normalizes:
            mass = float(given.abs().sum())
            return given / mass, mass / float(whole.abs().sum())
        for weights in (whole, given):
            if abs(float(weights.sum())) < _CANCEL * float(weights.abs().sum()):
                raise MergeError(
                    f"the weights of {module} cancel, and {self.op.name!r} divides by their sum",
                    remedy="Use method='task_arithmetic', which adds without dividing.",
                    module=module,
                )
        mass = float(given.sum())
        return given / mass, mass / float(whole.sum())

    def _own(self, module: str) -> Tensor:
        weights = [self._weight(place, module) for place in self.order]
        return torch.tensor(weights, dtype=torch.float64)

    def _weight(self, place: int, module: str) -> float:
        weights = self.recipe.weights
        if not weights:
            return 1.0
        return resolve(weights[place], module, self.depths, f"the weight of source {place}")

    def settings(self, module: str) -> dict[str, Any]:
        """Return the method's settings for ``module``; one per source as (n,) float32."""
        found: dict[str, Any] = {}
        for param in self.op.params:
            value = self.recipe[param.name]
            if param.each:
                rows = [self._each(value, place) for place in self.order]
                numbers = [resolve(row, module, self.depths, param.name) for row in rows]
                found[param.name] = torch.tensor(numbers, dtype=torch.float32)
            elif value is None or isinstance(value, bool | str):
                found[param.name] = value
            else:
                number = resolve(self._each(value, 0), module, self.depths, param.name)
                found[param.name] = int(number) if param.whole else number
        return found

    @staticmethod
    def _each(value: Any, place: int) -> Schedule:
        one: Schedule = value[place] if isinstance(value, tuple) else value
        return one

    def loras(self, module: str, weights: Sequence[float]) -> list[LoraDelta]:
        """Return what each source adds to ``module``; one that lacks it adds a zero delta."""
        d_out, d_in = self.shape(module)
        found = []
        for source, weight in zip(self.sources, weights, strict=True):
            if module in source.shapes:
                a, b, scale = source.read(module)
            else:
                a, b, scale = torch.zeros(1, d_in), torch.zeros(d_out, 1), 1.0
            key = self._key(module, a, b) if self.op.draws else b""
            found.append(LoraDelta(*narrowed(a, b), scale, weight, key))
        if self.op.kind != "coefficients":  # a NaN survives every product, and is found there
            self.refuse_broken(module)
        return found

    def refuse_broken(self, module: str) -> None:
        """Raise MergeError if a source holds NaN or infinity in ``module``, naming it."""
        for source in self.sources:
            if module in source.shapes:
                source.refuse_broken(module)

    @contextmanager
    def naming_errors(self, module: str | None) -> Iterator[None]:
        """Let errors inside the block say in which module, if in one, and whose delta is at fault.

        Methods see only the deltas of those with a weight, in the order of their content.
        """
        try:
            yield
        except MergeError as error:
            if module is not None:
                self.refuse_broken(module)  # looked for only now: it costs as much as reading all
            weights = self.weights(module or self.modules[0]).tolist()
            present = [s.name for s, w in zip(self.sources, weights, strict=True) if w != 0]
            raise error.located(module, present) from error

    def _key(self, module: str, a: Tensor, b: Tensor) -> bytes:
        """Name a delta by method, seed, module and content: equal patches draw equal masks.

        Not by weights and rank: who stands beside a patch does not change its mask.
        """
        named = f"hivelearn/chance/1|{self.op.name}|{self.recipe.seed}|{module}|"
        digest = hashlib.sha256(named.encode())
        digest.update(octets(a))
        digest.update(octets(b))
        return digest.digest()


def make_plan(
    sources: Sequence[AdapterSource], recipe: MergeRecipe, trust: Sequence[float] | None = None
) -> MergePlan:
    """Return the plan of a merge.

    Args:
        sources: as :func:`hivelearn.merging.files.sources.open_all` opens them.
        recipe: how.
        trust: one in [0, 1] for each source; it multiplies the recipe's weights.

    Raises:
        MergeError: counts that differ, trust out of range, too few or too many sources.
    """
    op = operator(recipe.method)
    count = len(sources)
    if recipe.weights and len(recipe.weights) != count:
        raise MergeError(
            f"weights has length {len(recipe.weights)}, and there are {count} adapters",
            remedy="Give one weight for each adapter, in their order, or none at all.",
        )
    for name, value in recipe.settings.items():
        if isinstance(value, tuple) and len(value) != count:
            raise MergeError(f"{name} has length {len(value)}, and there are {count} adapters")
    given = _trusted(trust, count)
    weighty = [n for n in range(count) if not recipe.weights or recipe.weights[n]]
    taking = [n for n in weighty if given[n]]
    if not taking:
        raise MergeError("nobody is trusted, so nothing would be merged")
    if count < op.rows_min or len(weighty) > (op.rows_max or count):
        raise MergeError(_wrong_count(op, count))
    order = _ordered(sources, recipe, taking, given)
    chosen = tuple(sources[n] for n in order)
    modules = sorted({module for source in chosen for module in source.shapes})
    depths = depths_of(modules)
    kept = tuple(given[n] for n in order)
    withheld = tuple(n for n in weighty if not given[n])
    return MergePlan(recipe, op, chosen, tuple(order), kept, withheld, tuple(modules), depths)


def _wrong_count(op: Operator, count: int) -> str:
    wanted = f"exactly {op.rows_min}" if op.rows_max == op.rows_min else f"at least {op.rows_min}"
    given = "1 was" if count == 1 else f"{count} were"
    return f"{op.name!r} merges {wanted} adapters, and {given} given"


def _trusted(trust: Sequence[float] | None, count: int) -> list[float]:
    if trust is None:
        return [1.0] * count
    numbers = list(trust) if isinstance(trust, Sequence) and not isinstance(trust, str) else []
    if len(numbers) != count or not all(
        isinstance(each, int | float) and 0.0 <= each <= 1.0 for each in numbers
    ):
        raise MergeError(
            f"trust {trust!r} is not one number in [0, 1] for each of {count} adapters"
        )
    return numbers


def _ordered(
    sources: Sequence[AdapterSource], recipe: MergeRecipe, taking: list[int], trust: list[float]
) -> list[int]:
    """Return the places of those that take part in the order of their content."""
    heads = {n: sources[n].key() for n in taking}
    alike = {head for head, times in Counter(heads.values()).items() if times > 1}
    keys = {n: (head, sources[n].full_key() if head in alike else b"") for n, head in heads.items()}
    return sorted(taking, key=lambda n: (keys[n], repr(_weight_of(recipe, n)), trust[n]))


def _weight_of(recipe: MergeRecipe, place: int) -> Schedule:
    return recipe.weights[place] if recipe.weights else 1.0
