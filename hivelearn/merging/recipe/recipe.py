"""How to merge, as one frozen value with one encoding and one hash. No tensor here.

The same patches and the same recipe give the same coefficients anywhere, and
the same masks where a method draws by chance. What is signed and compared is
this recipe and the patches' ids, never merged weights: the last bits of a QR
differ between machines.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeAlias

from hivelearn import codec
from hivelearn.merging.errors import MergeError
from hivelearn.merging.recipe.method_table import operator
from hivelearn.merging.recipe.operator import Param
from hivelearn.merging.recipe.schedule import (
    ByName,
    Gradient,
    Schedule,
    complement,
    from_value,
    numbers,
    schedule,
    to_value,
)
from hivelearn.patch.limits import ADAPTER_RANK_MAX
from hivelearn.printable import shown

WEIGHT_MAX: Final = 1_000.0  # far above any sane weight, far below float32 overflow
SOURCES_MAX: Final = 256  # a recipe comes from a stranger, too, and is work
_TAG: Final = b"hivelearn/recipe/1\0"

Setting: TypeAlias = Schedule | bool | str | tuple[Schedule, ...]  # a tuple: one per source
Rank: TypeAlias = int | Literal["stack"] | None


@dataclass(frozen=True, slots=True)
class MergeRecipe:
    """How to merge n adapters; refuses at birth what cannot work.

    Attributes:
        method: a name of :mod:`hivelearn.merging.recipe.method_table`.
        weights: one per source, within ±1000; empty means all alike. A weight of 0
            leaves the source out.
        params: the method's settings, such as ``{"density": .3}``; kept sorted.
        rank: of the result, 1 … 4096; ``"stack"`` concatenates and is exact; None
            is the largest rank among the sources, so that merges of merges do not grow.
        energy: the smallest rank that keeps this share of every module's squared
            norm, in (0, 1]; at most ``rank``, or all that is there.
        allow_negative: lets weights be below zero (the delta is subtracted).
        seed: of the methods that draw by chance.
    """

    method: str = "linear"
    weights: tuple[Schedule, ...] = ()
    params: Mapping[str, Any] | tuple[tuple[str, Setting], ...] = field(default=())
    rank: Rank = None
    energy: float | None = None
    allow_negative: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every number before a tensor is touched."""
        if not isinstance(self.allow_negative, bool):
            raise MergeError(
                f"allow_negative {shown(self.allow_negative)} is neither True nor False",
                remedy="Pass allow_negative=True if weights may subtract.",
            )
        given_weights = _listed(self.weights)
        weights = tuple(schedule(w, f"weight of source {n}") for n, w in enumerate(given_weights))
        object.__setattr__(self, "weights", weights)
        self._check_weights()
        op = operator(self.method)
        given = _pairs(self.params)
        params = tuple((name, _setting(op.param(name), given[name])) for name in sorted(given))
        object.__setattr__(self, "params", params)
        self._weigh_by_t()
        self._check_output()

    def _check_weights(self) -> None:
        if len(self.weights) > SOURCES_MAX:
            raise MergeError(
                f"{len(self.weights)} weights were given, and a merge takes at most {SOURCES_MAX}"
            )
        for place, weight in enumerate(self.weights):
            for number in numbers(weight):
                if abs(number) > WEIGHT_MAX:
                    raise MergeError(
                        f"weight {number} of source {place} is not within ±{WEIGHT_MAX:g}"
                    )
                if number < 0 and not self.allow_negative:
                    raise MergeError(
                        f"weight {number} of source {place} is negative",
                        remedy="Pass allow_negative=True (--allow-negative) if you mean to "
                        "subtract what it learnt.",
                    )
        if self.weights and not any(any(numbers(weight)) for weight in self.weights):
            raise MergeError("every weight is 0, so nothing would be merged")

    def _weigh_by_t(self) -> None:
        """Turn slerp's ``t`` into the two weights that it means, for sources have no order."""
        settings = self.settings
        t = settings.pop("t", None)
        if t is None:
            return
        if self.weights:
            raise MergeError("t and weights both say how far to go; give one of them")
        assert isinstance(t, float | Gradient | ByName)
        object.__setattr__(self, "weights", (complement(t), t))
        object.__setattr__(self, "params", tuple(sorted(settings.items())))

    def _check_output(self) -> None:
        whole = type(self.rank) is int and 1 <= self.rank <= ADAPTER_RANK_MAX
        if not (self.rank is None or self.rank == "stack" or whole):
            raise MergeError(
                f"rank {shown(self.rank)} is not a whole number in 1 … {ADAPTER_RANK_MAX}, 'stack'",
                remedy="Write rank=16, rank='stack', or none for the largest of the sources.",
            )
        entrywise = operator(self.method).kind == "stream"
        if entrywise and (self.rank == "stack" or self.energy is not None):
            raise MergeError(
                f"what {self.method!r} makes is not low-rank: no stack holds it, and no energy "
                "is reached at a rank worth having",
                remedy=f"Give a rank, use 'core_{self.method}', or merge into a model.",
            )
        if self.energy is not None:
            energy = rounded_share(self.energy, "energy")
            if self.rank == "stack":
                raise MergeError("a stack keeps everything, so energy has nothing to choose")
            object.__setattr__(self, "energy", energy)
        if type(self.seed) is not int or not 0 <= self.seed < 1 << 63:
            raise MergeError(f"seed {shown(self.seed)} is not a whole number in 0 … 2^63 - 1")

    def __getitem__(self, name: str) -> Setting | None:
        """Return the setting ``name`` as the recipe gives it, or the method's default."""
        return self.settings.get(name, operator(self.method).param(name).default)

    @property
    def settings(self) -> dict[str, Setting]:
        """What the recipe itself sets, without the method's defaults."""
        return dict(self.params)

    def to_bytes(self) -> bytes:
        """Return the one encoding of this recipe (canonical CBOR, reals in 1e-6)."""
        params: list[codec.Value] = [[n, _to_value(v)] for n, v in sorted(self.settings.items())]
        return codec.encode(
            {
                1: self.method,
                2: [to_value(weight) for weight in self.weights],
                3: params,
                4: self.rank,
                5: None if self.energy is None else codec.fixed(self.energy),
                6: self.allow_negative,
                7: self.seed,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the recipe that :meth:`to_bytes` wrote.

        Raises:
            CodecError: not canonical bytes.
            MergeError: canonical, but no recipe.
        """
        match codec.decode(data):
            case {
                1: str(method),
                2: [*weights],
                3: [*params],
                4: rank,
                5: energy,
                6: bool(negative),
                7: int(seed),
                **rest,
            } if not rest and (energy is None or type(energy) is int):
                recipe = cls(
                    method,
                    tuple(from_value(weight) for weight in weights),
                    tuple(_named(param) for param in params),
                    rank,  # type: ignore[arg-type]
                    None if energy is None else codec.real(energy),
                    negative,
                    seed,
                )
                if recipe.to_bytes() != data:
                    raise codec.CodecError("not the canonical bytes of a recipe")
                return recipe
            case _:
                raise MergeError("these bytes are no recipe")

    @property
    def id(self) -> bytes:
        """SHA-256 over the tag and :meth:`to_bytes`: what the recipe is called anywhere."""
        return hashlib.sha256(_TAG + self.to_bytes()).digest()


def rounded_share(value: float, what: str) -> float:
    """Return ``value`` in steps of 1e-6; raise MergeError unless it is in (0, 1]."""
    share = schedule(value, what)
    if not isinstance(share, float) or not 0.0 < share <= 1.0:
        raise MergeError(
            f"{what} {shown(value)} is not in (0, 1]", remedy=f"Write {what}=0.95 for 95 %."
        )
    return share


def _listed(weights: Any) -> Sequence[Any]:
    """Return weights as a list; an array of numpy or torch is one, too."""
    if hasattr(weights, "tolist"):
        weights = weights.tolist()
    if isinstance(weights, str | bytes) or not isinstance(weights, Sequence):
        raise MergeError(
            f"weights {shown(weights)} are not a list of numbers",
            remedy="Write weights=[2, 1], one for each adapter.",
        )
    return weights


def _pairs(params: Any) -> dict[str, Any]:
    try:
        return dict(params or ())
    except (TypeError, ValueError):
        raise MergeError(
            f"params {shown(params)} are no settings by name",
            remedy="Write params={'density': 0.3}.",
        ) from None


def _setting(param: Param, value: Any) -> Setting:
    """Return ``value`` as the recipe keeps it, checked against the method's schema."""
    if param.choices or isinstance(param.default, bool):
        allowed: tuple[bool | str, ...] = param.choices or (False, True)
        for word in allowed:
            if type(value) is type(word) and value == word:
                return word
        raise MergeError(
            f"{param.name} {shown(value)} is not one of {', '.join(map(repr, allowed))}"
        )
    if isinstance(value, list | tuple):
        if not param.each:
            raise MergeError(f"{param.name} is one number for all sources, not a list")
        return tuple(_ranged(param, each) for each in value)
    return _ranged(param, value)


def _ranged(param: Param, value: object) -> Schedule:
    setting = schedule(value, param.name)
    for number in numbers(setting):
        if not param.low <= number <= param.high:
            share = param.high == 1.0 and 1.0 < number <= 100.0  # noqa: PLR2004 - per cent
            raise MergeError(
                f"{param.name} {number:g} is not within {param.low:g} … {param.high:g}",
                remedy=f"For {number:g} % write {number / 100:g}." if share else None,
            )
        if param.whole and number != int(number):
            raise MergeError(f"{param.name} {number:g} is not a whole number")
    return setting


def _to_value(value: Setting) -> codec.Value:
    if isinstance(value, bool | str):
        return value
    return [2, *map(to_value, value)] if isinstance(value, tuple) else to_value(value)


def _named(value: codec.Value) -> tuple[str, Setting]:
    match value:
        case [str(name), bool(inner) | str(inner)]:
            return name, inner
        case [str(name), [2, *inner]]:
            return name, tuple(from_value(each) for each in inner)
        case [str(name), inner]:
            return name, from_value(inner)
        case _:
            raise MergeError(f"{shown(value)} is no setting of a recipe")
