"""What PEFT's configuration tells of an adapter beside its numbers: its task and its model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

_TASKS: Final = (  # a tuple: what is asked for may be a list
    "CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION",
)  # fmt: skip
_NAME_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an adapter belongs, as its folder says; nobody has verified it.

    Attributes:
        task: PEFT's ``task_type``, or None: it decides which class PEFT opens.
        model: ``base_model_name_or_path``, or None. A patch from the network has none, so
            that opening one never fetches what its author names.
    """

    task: str | None = "CAUSAL_LM"
    model: str | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Return what ``config`` (PEFT's) tells; None for what it does not, or not in earnest."""
        task, model = config.get("task_type"), config.get("base_model_name_or_path")
        task = getattr(task, "value", task)
        earnest = isinstance(model, str) and 0 < len(model) <= _NAME_MAX and model.isprintable()
        return cls(task if task in _TASKS else None, model if earnest else None)

    @classmethod
    def common(cls, origins: Iterable["Origin"]) -> Self:
        """Return what all of them tell alike."""
        found = list(origins)
        tasks, models = {one.task for one in found}, {one.model for one in found}
        return cls(
            tasks.pop() if len(tasks) == 1 else "CAUSAL_LM",
            models.pop() if len(models) == 1 else None,
        )
