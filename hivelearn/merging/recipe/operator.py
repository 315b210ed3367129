"""What a row of the table says of a merge method: its kind, settings, source and promises.

A row names its function by module, and loads it on first use: a recipe is
checked at birth, and the command line lists the methods, without torch.

Four kinds. *coefficients*: a function of the n x n Gram matrix, so the merge is
a weighted sum. *stream*: works on entries of the deltas, in blocks of rows.
*core*: the same in the joint low-rank core. *stack*: keeps factors apart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from hivelearn.bounds import did_you_mean
from hivelearn.merging.errors import MergeError
from hivelearn.printable import shown

Kind = Literal["coefficients", "stream", "core", "stack"]
Scope = Literal["module", "adapter"]


@dataclass(frozen=True, slots=True)
class Param:
    """One setting of a method.

    Attributes:
        name: as in the call: ``hl.merge(..., density=.3)``.
        default: None means that the method works it out.
        low, high: the range of a number, ends included.
        each: it may differ from source to source.
        choices: for a setting that is a word.
        whole: it counts something.
    """

    name: str
    default: float | bool | str | None
    low: float = 0.0
    high: float = 1.0
    each: bool = False
    choices: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Operator:
    """A pure function from n deltas to one, with what a reader must know of it.

    Attributes:
        scope: whether coefficients are worked out for each module or once for the
            whole adapter (its deltas seen as one long vector).
        tolerates: share of hostile sources, by weight, that it survives whatever
            they send, in [0, .5); 0 promises nothing.
        normalizes: divides by the weights' sum, so that only their ratios count.
        gram: its coefficients depend on the deltas, not on the weights alone.
        by_weight: a small weight moves the result little, whatever its delta's direction;
            entrywise methods only with ``normalize=False``. What a node may merge with.
        clips: each source is clipped module by module before (`robust.module_clip`).
        draws: uses chance, keyed by the recipe and the patches' content.
    """

    name: str
    kind: Kind
    home: str
    function: str
    source: str
    params: tuple[Param, ...] = ()
    scope: Scope = "module"
    tolerates: float = 0.0
    normalizes: bool = True
    gram: bool = True
    by_weight: bool = True
    clips: bool = False
    draws: bool = False
    rows_min: int = 1
    rows_max: int | None = None

    def load(self) -> Callable[..., Any]:
        """Return the function, loading its module on first use."""
        found: Callable[..., Any] = getattr(import_module(self.home), self.function)
        return found

    def param(self, name: str) -> Param:
        """Return the setting called ``name``.

        Raises:
            MergeError: the method has none of that name.
        """
        for param in self.params:
            if param.name == name:
                return param
        names = [param.name for param in self.params]
        raise MergeError(
            f"method {self.name!r} takes no {shown(name)}{did_you_mean(name, names)}",
            remedy=f"{self.name!r} takes: {', '.join(names) or 'no settings'}.",
        )
