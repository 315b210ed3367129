"""May the machine work, how hard, and why: what `decide` answers."""

from dataclasses import dataclass
from typing import Final, Literal

from hivelearn.errors import UsageError

FULL: Final = 1.0
QUARTER: Final = 0.25  # a fanless laptop sheds about a quarter of its peak heat for ever
REST: Final = 0.0

Component = Literal["cpu", "gpu", "battery"]


@dataclass(frozen=True, slots=True)
class Permit:
    """The share of time that may be spent working, and the sentence that explains it."""

    duty: float  # FULL, QUARTER or REST
    why: str  # one sentence for a person, whatever the duty
    cooling: tuple[Component, ...] = ()  # too hot, and not cool yet; decide's only memory

    def __post_init__(self) -> None:
        if self.duty not in (FULL, QUARTER, REST):
            raise UsageError(
                f"a duty of {self.duty} does not exist", remedy="Use 1.0, 0.25 or 0.0."
            )
        if not self.why.endswith("."):
            raise UsageError(
                "a permit without its sentence", remedy="Say why, and end with a full stop."
            )

    @property
    def work(self) -> bool:
        """Whether any work may be done now."""
        return self.duty > REST

    def pause_after(self, worked_s: float) -> float:
        """Return how many seconds to sleep after ``worked_s`` of work to keep the duty."""
        return worked_s * (1.0 / self.duty - 1.0) if self.work else 0.0


NOT_MEASURED: Final = Permit(REST, "Nothing has been measured yet.")
