"""Every merge method by name. A new one is a pure function and a row here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hivelearn.merging.linear import Part, linear
from hivelearn.merging.lowrank import Factors
from hivelearn.merging.plan import MergeError, MergeRecipe
from hivelearn.merging.sparse import ties

Combine = Callable[[Sequence[Part], int, MergeRecipe], Factors]  # (parts, rank, recipe)


@dataclass(frozen=True, slots=True)
class Operator:
    """A pure function from the parts of one module to its merged factors."""

    name: str
    combine: Combine
    source: str  # paper or "ours"
    sparse: bool  # takes a density
    tolerates: float = 0.0  # share of hostile parts it provably survives, in [0, 0.5)


LINEAR = Operator("linear", linear, "arXiv:2212.04089", sparse=False)
TIES = Operator("ties", ties, "arXiv:2306.01708", sparse=True)

TABLE: dict[str, Operator] = {op.name: op for op in (LINEAR, TIES)}


def operator(name: str) -> Operator:
    """Return the operator called ``name``.

    Raises:
        MergeError: there is none of that name.
    """
    if name not in TABLE:
        raise MergeError(
            f"no merge method is called {name!r}", remedy=f"Use one of: {', '.join(TABLE)}."
        )
    return TABLE[name]
