"""Corrections that say the same twice, or contradict each other, as far as letters can tell.

The same question, but for capitals and spaces, is corrected once: the last word counts. What
slips through is the same question with another mark at its end. Two answers to it teach the
model to guess, and two equal ones count double.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from hivelearn.store.correction import Correction, normalise


@dataclass(frozen=True, slots=True)
class Alike:
    """Corrections of one domain that ask the same."""

    corrections: tuple[Correction, ...]  # two and more, oldest first

    @property
    def contradict(self) -> bool:
        """Whether their right answers differ."""
        return len({_plain(each.right) for each in self.corrections}) > 1

    def __str__(self) -> str:
        """Return a line for each: what was asked, what was right, which id."""
        return "\n".join(
            f"  {c.id[:12]}  {c.messages[-1].content!r:.60} → {c.right!r:.40}"
            for c in self.corrections
        )


@dataclass(frozen=True, slots=True, repr=False)
class AlikeReport:
    """What was found among the corrections of a home."""

    contradictions: tuple[Alike, ...]
    duplicates: tuple[Alike, ...]

    def __bool__(self) -> bool:
        """True if anything was found."""
        return bool(self.contradictions or self.duplicates)

    def __str__(self) -> str:
        """Return each with its corrections, contradictions first."""
        lines = []
        for what, found in (
            ("contradict each other", self.contradictions),
            ("say the same twice", self.duplicates),
        ):
            for each in found:
                domain = each.corrections[0].domain
                lines += [f"{domain}: {len(each.corrections)} corrections {what}", str(each)]
        return "\n".join(lines) or "no corrections contradict each other, none is said twice"

    __repr__ = __str__  # what a notebook or a shell shows is for people


def alike(corrections: Iterable[Correction]) -> AlikeReport:
    """Return which of ``corrections`` ask the same of the same domain but for marks at the end."""
    asked: dict[tuple[str, ...], list[Correction]] = {}
    for each in corrections:
        said = (f"{message.role}: {_plain(message.content)}" for message in each.messages)
        asked.setdefault((each.domain, *said), []).append(each)
    groups = [Alike(tuple(group)) for _, group in sorted(asked.items()) if len(group) > 1]
    return AlikeReport(
        tuple(group for group in groups if group.contradict),
        tuple(group for group in groups if not group.contradict),
    )


def _plain(text: str) -> str:
    """Return a text as :func:`normalise` has it, without the marks at its end."""
    words = normalise(text)
    return words.rstrip(" .!?:;") or words
