"""How a merge is carried out; none of it changes what is merged."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hivelearn.bounds import FLAG, NONE, TEXT, a, check_record
from hivelearn.merging.errors import MergeError
from hivelearn.merging.recipe.mergekit_values import DTYPES
from hivelearn.printable import shown

RULES: Final = {
    "out": NONE | TEXT | a(os.PathLike, "a path"),
    "study": FLAG,
    "progress": NONE | FLAG,
}


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """Where the result goes, in what type, and what is looked at on the way.

    Attributes:
        out: folder to write, module by module; None keeps the adapter in memory.
        dtype: of the result: float32, bfloat16 or float16.
        trust: one in [0, 1] for each source; it multiplies the recipe's weights,
            and what it withholds stays where it was.
        study: look at all sources first: cosines and norms for the report.
        model: the model that the adapters belong to, a folder or open: its names count where
            sources spell one module in two ways. Not needed where they spell alike, or where
            all name one folder as their base.
        progress: draw a line; None: on a terminal and in Jupyter only.
    """

    out: str | Path | None = None
    dtype: str = "float32"
    trust: Sequence[float] | None = None
    study: bool = True
    model: Any = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what is of the wrong kind, and a place that no file system can have."""
        check_record(RULES, self, what="this merge cannot be carried out")
        if str(self.dtype).removeprefix("torch.") not in DTYPES:  # torch.bfloat16 is meant
            raise MergeError(
                f"dtype {shown(self.dtype)} is not one of {', '.join(DTYPES)}",
                remedy="Write dtype='bfloat16', for example.",
            )
        self._check_trust()
        name = "" if self.out is None else str(self.out)
        if "\0" in name or not name.isprintable() or self.out == "":
            raise MergeError(
                f"{shown(name)} cannot be written: it is no name of a folder",
                remedy="Give another place with out=...",
            )

    def _check_trust(self) -> None:
        trust = self.trust
        if trust is None:
            return
        listed = isinstance(trust, Sequence) and not isinstance(trust, str | bytes)
        if not listed or not all(
            isinstance(each, int | float) and 0.0 <= each <= 1.0 for each in trust
        ):
            raise MergeError(
                f"trust {shown(trust)} is not a list of numbers in [0, 1]",
                remedy="Write trust=[1, 0.5], one for each adapter, or leave it out.",
            )
