"""What a node tells after it learnt, judged or was asked how it stands: frozen values."""

import html
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hivelearn.gate.gain import Gain, Measure, Unmeasured
from hivelearn.patch.verdict import Verdict
from hivelearn.training.curve import Curve
from hivelearn.training.recipe import Recipe

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


@dataclass(frozen=True, slots=True, repr=False)
class RoundReport:
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
        return "\n".join([f"{self.domain}: {self._head()}", *(f"  {j}" for j in self.patches)])

    __repr__ = __str__  # what a notebook or a shell shows is for people

    def _head(self) -> str:
        if self.outcome == "nothing to judge":
            return f"nothing to judge: {self.why}; nothing changed"
        if self.outcome == "adopted" and isinstance(self.own, Unmeasured):
            return f"adopted generation {self.generation}, unmeasured: {self.own}"
        did = {
            "adopted": f"adopted generation {self.generation}.",
            "admitted": f"admitted as expert, generation {self.generation}.",
            "candidate": "candidate waits for node.adopt(report).",
            "no lift": "no lift.",
        }[self.outcome]
        gains = [f"own {self.own}", *(f"{name}: {gain}" for name, gain in self.others.items())]
        unchanged = (
            "; nothing changed" if self.generation is None and self.outcome != "candidate" else ""
        )
        return f"{did} {'; '.join(gains)}{unchanged}"

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


Turn = Literal["grown", "taken up", "waiting", "alone", "resting", "nothing to teach"]


@dataclass(frozen=True, slots=True, repr=False)
class TrunkReport:
    """One turn in the rounds of a domain.

    Attributes:
        outcome: "grown" (a round ended in a new trunk), "taken up" (another node's trunk),
            "waiting" (for the parts of others), "alone" (no part of others helps),
            "resting" (nothing more is gained), "nothing to teach".
        trunk: id of the trunk that the domain goes on from, hex.
        height: how many trunks led to it.
        parts: how many parts, of all rounds, it was made of.
        authors: short names of those whose parts made this round; of those whose parts are
            here, while it waits.
        loss: of the trunk on the own corrections, nats per answer token.
        lost: share of its norm that the cut to its rank lost.
        gain: of the trunk against the one before, on the own corrections.
        served: whether the trunk serves now, and what decided it.
    """

    domain: str
    outcome: Turn
    trunk: str
    height: int
    parts: int = 0
    authors: tuple[str, ...] = ()
    loss: float | None = None
    lost: float = 0.0
    gain: Measure = field(default_factory=Unmeasured)
    served: RoundReport | None = None

    def __str__(self) -> str:
        """Return one line."""
        said = f"{self.domain}: trunk {self.height} ({self.trunk[:8]}), {self.outcome}"
        if self.authors and self:
            said += f" by {len(self.authors)}"
        if self.loss is not None:
            said += f"; loss {self.loss:.3f}, against the last {self.gain}"
        if self.served is not None:
            now = self.served.generation
            said += f"; generation {now} serves it" if now else "; what served goes on serving"
        return said

    __repr__ = __str__  # what a notebook or a shell shows is for people

    def __bool__(self) -> bool:
        """True if the domain goes on from another trunk now."""
        return self.outcome in ("grown", "taken up")

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


@dataclass(frozen=True, slots=True, repr=False)
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
    newer: int = 0  # corrections that came since it began, and wait for the next training
    left_out: int = 0  # corrections that do not fit the model
    anew: str = ""  # why an interrupted training was given up; empty if none was
    watched: int = 0  # corrections of the training side that told when to end, never trained on
    # On general questions, after against before: asked as if of this domain, and as they are.
    general_stated: Measure = field(default_factory=Unmeasured)
    general_routed: Measure = field(default_factory=Unmeasured)
    recipe: Recipe | None = None  # nothing in it is open
    curve: Curve = field(default_factory=Curve)

    def __str__(self) -> str:
        """Return one line."""
        return "; ".join([f"{self.domain}: {self._done()}", *self._remarks()])

    __repr__ = __str__  # what a notebook or a shell shows is for people

    def _done(self) -> str:
        if self.patch is None:
            return f"stopped after {self.steps} of {self.of_steps} steps; resumable"
        if not self.adopted:
            return f"no lift, nothing changed. own {self.own}; {self.seconds:.0f} s"
        if isinstance(self.own, Unmeasured):
            return (
                f"generation {self.generation} serves, unmeasured: {self.own}; {self.seconds:.0f} s"
            )
        return f"generation {self.generation}. own {self.own}; {self.seconds:.0f} s"

    def _remarks(self) -> list[str]:
        said = []
        if isinstance(self.general_stated, Gain):
            routed = self.general_routed
            also = f" ({routed.mean:+.3f} routed)" if isinstance(routed, Gain) else ""
            said.append(
                f"general {self.general_stated.mean:+.3f} nats if its domain is stated{also}"
            )
        if self.anew:
            said.append(f"begun anew: {self.anew}")
        if self.newer:
            waits = "correction waits" if self.newer == 1 else "corrections wait"
            said.append(f"{self.newer} newer {waits} for the next training")
        if self.left_out:
            fits = "correction does" if self.left_out == 1 else "corrections do"
            said.append(f"{self.left_out} {fits} not fit the model")
        return said

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self))

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def plot(self, ax: Any = None) -> Any:
        """Draw the loss curve; needs ``hivelearn[plots]``."""
        return self.curve.plot(ax, title=f"{self.domain}: {self.steps} steps")
