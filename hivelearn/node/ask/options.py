"""How a question is to be answered: the choices of ``node.ask``, ``ask_many`` and ``stream``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, TypedDict

from hivelearn.bounds import TEXT, check_names, check_record, many
from hivelearn.inference.sampling import Sampling
from hivelearn.store.correction import check_domain

_NAMES: Final = many(TEXT, "a list of ids, as text")


class AskChoices(TypedDict, total=False):
    """What may be chosen of one answer, by name; :class:`Sampling` says what each means."""

    max_new_tokens: int | None  # None: the node's configuration
    temperature: float
    top_p: float
    top_k: int
    stop: str | Sequence[str]
    seed: int


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How a question is to be answered."""

    sampling: Sampling
    domain: str | None = None
    experts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what names no domain or no expert."""
        if self.domain is not None:
            check_domain(self.domain)
        check_record({"experts": _NAMES}, self)


def sampling_of(choices: Mapping[str, object], max_new_tokens: int) -> Sampling:
    """Return the sampling that a caller chose by name.

    Args:
        choices: as in :class:`AskChoices`.
        max_new_tokens: unless chosen.

    Raises:
        UsageError: a choice that there is not, or one that no sampler can do.
    """
    names = [field.name for field in fields(Sampling)]
    check_names(names, choices, what="an answer")
    given = {name: value for name, value in choices.items() if value is not None}
    return Sampling(**{"max_new_tokens": max_new_tokens, **given})  # type: ignore[arg-type]
