"""What a caller may give, written as values: a rule in words, a table of rules for a record.

Nothing is converted: what passes is what was given. The words of a rule are the
remedy of the error, so that a refusal always says what would be taken.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from hivelearn.errors import UsageError

WHOLE_MAX: Final = 2**63 - 1  # what SQLite and torch can hold
REAL_MAX: Final = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Rule:
    """What one setting or argument may be."""

    words: str  # completes "Give … as": "a whole number from 1 to 64"
    holds: Callable[[object], bool]

    def __or__(self, other: "Rule") -> "Rule":
        """Return the rule that takes what either takes."""
        either = f"{self.words}, or {other.words}"
        return Rule(either, lambda given: self.holds(given) or other.holds(given))


def whole(low: int, high: int = WHOLE_MAX) -> Rule:
    """Take integers from ``low`` to ``high``; True is none, nor is 3.0."""
    words = f"a whole number from {low}" + ("" if high == WHOLE_MAX else f" to {high}")
    return Rule(words, lambda given: type(given) is int and low <= given <= high)


def real(low: float, high: float = REAL_MAX, *, above: bool = False, below: bool = False) -> Rule:
    """Take numbers from ``low`` to ``high``; never NaN.

    Args:
        low: the smallest; with ``above`` that one is excluded.
        high: the largest; with ``below`` that one is excluded.
        above: see ``low``.
        below: see ``high``.
    """
    end = f", below {high:g}" if below else f" to {high:g}"
    words = f"a number {'above' if above else 'from'} {low:g}{'' if high >= REAL_MAX else end}"

    def holds(given: object) -> bool:
        if type(given) is bool or not isinstance(given, int | float):
            return False
        return (low < given if above else low <= given) and (
            given < high if below else given <= high
        )

    return Rule(words, holds)


def a(kind: type, words: str) -> Rule:
    """Take instances of ``kind``."""
    return Rule(words, lambda given: isinstance(given, kind))


def many(each: Rule, words: str, least: int = 0, most: int = WHOLE_MAX) -> Rule:
    """Take lists and tuples of ``least`` to ``most`` items, each as ``each`` takes it."""

    def holds(given: object) -> bool:
        return (
            isinstance(given, list | tuple)
            and least <= len(given) <= most
            and all(map(each.holds, given))
        )

    return Rule(words, holds)


FLAG: Final = a(bool, "True or False")
TEXT: Final = a(str, "text")
NONE: Final = Rule("None", lambda given: given is None)


def check(rules: Mapping[str, Rule], given: Mapping[str, object], *, what: str = "") -> None:
    """Raise UsageError at the first of ``rules`` that what is ``given`` by that name breaks.

    Args:
        rules: by name.
        given: a value for each name.
        what: begins the message: "this recipe cannot train".
    """
    for name, rule in rules.items():
        if not rule.holds(given[name]):
            told = f"{name} = {given[name]!r:.80}"
            raise UsageError(
                f"{what}: {told}" if what else told, remedy=f"Give {name} as {rule.words}."
            )


def check_names(known: Collection[str], given: Iterable[str], *, what: str) -> None:
    """Raise UsageError at the first name that is given and not known.

    Args:
        known: all that there are.
        given: by a caller.
        what: has them, such as "a node": the message is "a node has no setting 'x'".
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        meant = did_you_mean(unknown[0], known)
        raise UsageError(
            f"{what} has no setting {unknown[0]!r}{meant}", remedy=f"It has: {', '.join(known)}."
        )


def check_arguments(
    known: Collection[str], positional: Sequence[object], named: Iterable[str], *, what: str
) -> None:
    """Raise UsageError unless a record can be made of these; for its ``__new__``.

    A dataclass would raise TypeError, which no caller of ours should have to expect.
    """
    check_names(known, named, what=what)
    if len(positional) > len(known):
        raise UsageError(
            f"{what} has {len(known)} settings, not {len(positional)}",
            remedy=f"Give them by name: {', '.join(known)}.",
        )


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return ": did you mean 'steps'?" if a known name is like what was given, else nothing."""
    near = get_close_matches(given, list(known), 1, 0.6)
    return f": did you mean {near[0]!r}?" if near else ""


def check_record(rules: Mapping[str, Rule], record: object, *, what: str = "") -> None:
    """Apply :func:`check` to the fields of a record."""
    check(rules, {name: getattr(record, name) for name in rules}, what=what)
