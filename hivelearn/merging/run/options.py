"""How a merge is carried out; none of it changes what is merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hivelearn.merging.errors import MergeError
from hivelearn.printable import shown


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
        """Refuse a place that no file system can have."""
        name = "" if self.out is None else str(self.out)
        if "\0" in name or not name.isprintable() or self.out == "":
            raise MergeError(
                f"{shown(name)} cannot be written: it is no name of a folder",
                remedy="Give another place with out=...",
            )
