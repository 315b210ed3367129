"""What a training will cost, told before it is spent: steps, time and memory."""

import html
import json
from dataclasses import asdict, dataclass
from typing import Final

PATIENCE_S: Final = 600.0  # below it nobody needs a shorter way
SHORTER_S: Final = 300.0  # about how long the shorter way takes
SHORTER_BATCH: Final = 8
SHORTER_STEPS: Final = (10, 60)  # fewer teach nothing; more are the long way again


@dataclass(frozen=True, slots=True, repr=False)
class TrainEstimate:
    """What is known before a training, and better after its first step."""

    domain: str
    corrections: int  # that are trained on
    steps: int  # at most
    least_steps: int  # it cannot end before; as many as ``steps`` where those were stated
    batch: int
    step_s: float
    memory_bytes: int  # of the whole process at its peak

    @property
    def seconds(self) -> float:
        """How long it takes at least, while the device permits."""
        return self.least_steps * self.step_s

    @property
    def seconds_most(self) -> float:
        """How long all its steps take."""
        return self.steps * self.step_s

    @property
    def shorter(self) -> tuple[int, int, float] | None:
        """Steps, batch and seconds of a training of about five minutes, if this one is long."""
        if self.seconds <= PATIENCE_S:
            return None
        batch = min(SHORTER_BATCH, self.batch)
        each_s = self.step_s * batch / self.batch
        steps = min(max(SHORTER_STEPS[0], int(SHORTER_S / each_s)), SHORTER_STEPS[1])
        short_s = steps * each_s
        return (steps, batch, short_s) if short_s < self.seconds / 2 else None

    def __str__(self) -> str:
        """Return one line."""
        size = f"{self.corrections} correction{'' if self.corrections == 1 else 's'}"
        told = f"about {duration(self.seconds)} for {self.steps} steps of {self.batch}"
        if self.least_steps < self.steps:
            most = f"{self.steps} steps of {self.batch} in {duration(self.seconds_most)}"
            told = f"about {duration(self.seconds)}, and on while it gains: {most} at most"
        said = f"{self.domain}, {size}: {told}; {self.memory_bytes / 1e9:.1f} GB of memory"
        if self.shorter is not None:
            count, batch, short_s = self.shorter
            said += f"; `--steps {count} --batch {batch}` takes {duration(short_s)}"
        return f"{said} (besides: opening the model, judging)"

    __repr__ = __str__  # what a notebook or a shell shows is for people

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self) | {"seconds": self.seconds, "shorter": self.shorter})

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def duration(seconds: float) -> str:
    """Return a time as people say it, to two digits: 40 s, 4 min, 2 h."""
    if seconds < 90:  # noqa: PLR2004 - a minute and a half
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 9.5 else f"{hours:.0f} h"  # noqa: PLR2004 - two digits
