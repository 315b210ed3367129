"""What a node tells after it learnt, judged or was asked how it stands: frozen values."""

import html
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hivelearn.gate.gain import Gain, Measure
from hivelearn.patch.verdict import Verdict

Outcome = Literal["adopted", "admitted", "candidate", "no lift", "nothing to judge"]


@dataclass(frozen=True, slots=True)
class Judged:
    """One patch in a merge report."""

    patch: str  # id, hex
    author: str  # short name
    verdict: Verdict
    state: str  # where it rests now
    gain: Measure  # of the patch alone against the base model, on the own holdout
    weight: float | None = None  # its share in the merge, if it took part

    def __str__(self) -> str:
        """Return one line."""
        weight = "" if self.weight is None else f", weight {self.weight:.3f}"
        return f"{self.patch[:8]} of {self.author}: {self.state}{weight} ({self.verdict.why})"


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What `node.merge` found out about one domain, and what it did."""

    domain: str
    outcome: Outcome
    own: Measure
    others: dict[str, Measure] = field(default_factory=dict)
    base_texts: Measure | None = None
    patches: tuple[Judged, ...] = ()
    generation: int | None = None  # committed now, or None
    candidate: int | None = None  # number of a candidate left for node.adopt
    why: str = ""

    def __str__(self) -> str:
        """Return the line that a person reads first, then one line a patch."""
        did = {
            "adopted": f"adopted generation {self.generation}.",
            "admitted": f"admitted as expert, generation {self.generation}.",
            "candidate": "candidate waits for node.adopt(report).",
            "no lift": "no lift.",
            "nothing to judge": "nothing to judge.",
        }[self.outcome]
        gains = [f"own {self.own}", *(f"{name}: {gain}" for name, gain in self.others.items())]
        unchanged = (
            "; nothing changed" if self.generation is None and self.outcome != "candidate" else ""
        )
        head = f"{self.domain}: {did} {'; '.join(gains)}{unchanged}"
        return "\n".join([head, *(f"  {judged}" for judged in self.patches)])

    def __bool__(self) -> bool:
        """True if anything serves differently now."""
        return self.generation is not None

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def plot(self, ax: Any = None) -> Any:
        """Draw the gains with their intervals; needs ``hivelearn[plots]``."""
        from hivelearn.report.figures import gains

        measured = {"own": self.own, **self.others}
        if self.base_texts is not None:
            measured["base texts"] = self.base_texts
        rows = [
            (name, gain.mean, gain.low, gain.high)
            for name, gain in measured.items()
            if isinstance(gain, Gain)
        ]
        return gains(rows, title=f"{self.domain}: {self.outcome}", ax=ax)


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What `node.train` cost and measured; `node.train` returns the patch itself."""

    domain: str
    patch: str | None  # id, hex; None if it was stopped before the end
    own: Measure
    adopted: bool
    generation: int | None
    steps: int
    of_steps: int
    corrections: int
    rested: int  # how often heat, battery or the hours made it wait
    seconds: float

    def __str__(self) -> str:
        """Return one line."""
        if self.patch is None:
            return f"{self.domain}: stopped after {self.steps} of {self.of_steps} steps; resumable"
        did = f"generation {self.generation}" if self.adopted else "no lift, nothing changed"
        return f"{self.domain}: {did}. own {self.own}; {self.seconds:.0f} s"

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"
