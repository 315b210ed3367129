"""What one layer of the gate said about one patch, with its figures."""

import json
from dataclasses import asdict, dataclass

from hivelearn.errors import Fault


@dataclass(frozen=True, slots=True)
class Verdict:
    """Accepted or refused, by which rule, on what measurement."""

    accepted: bool
    layer: str  # format, policy, numbers, probe, rule
    code: str  # short stable name, such as num.nonfinite
    why: str  # a sentence for people
    measured: float | None = None
    limit: float | None = None
    fault: Fault = "nobody"

    def __str__(self) -> str:
        """Return the sentence, with the verdict in front."""
        return f"{'accepted' if self.accepted else 'refused'} ({self.code}): {self.why}"

    def to_json(self) -> str:
        """Return one JSON object, for the shelf and for reports."""
        return json.dumps(asdict(self), sort_keys=True)
