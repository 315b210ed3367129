"""The demonstration's subjects: what an expert corrects, and what nobody was ever told.

A domain is a space of values, a few wordings people use, and code that knows the answer.
A seed splits its values in two: corrections are drawn from one half, questions from the
other, so a right answer to a question was learned, not remembered. Every function is pure
and reads no file, no clock, no global chance.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

CORRECTIONS_MAX = 400
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


class Pair(NamedTuple):
    """A question with the only answer that counts as right."""

    prompt: str
    answer: str
    value: int  # which of the domain's values it asks about


@dataclass(frozen=True, slots=True)
class Domain:
    """One subject: its values are 0 … ``size`` - 1."""

    name: str
    describe: str
    size: int
    wordings: tuple[str, ...]  # each with {x}
    show: Callable[[int], str]  # the value as the question writes it
    solve: Callable[[int], str]  # the value as the answer writes it


_ROMAN = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
    (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip


def roman(number: int) -> str:
    """Write a number from 1 to 3999 in Roman numerals."""
    written = ""
    for worth, sign in _ROMAN:
        count, number = divmod(number, worth)
        written += sign * count
    return written


_FIRST_DAY = date(1900, 1, 1)
_DAYS = (date(2100, 1, 1) - _FIRST_DAY).days


def _long_date(value: int) -> str:
    day = _FIRST_DAY + timedelta(days=value)
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def _iso_date(value: int) -> str:
    return (_FIRST_DAY + timedelta(days=value)).isoformat()


def _clock24(value: int) -> str:
    return f"{value // 60:02d}:{value % 60:02d}"


def _clock12(value: int) -> str:
    hour, minute = divmod(value, 60)
    return f"{hour % 12 or 12}:{minute:02d} {'pm' if hour >= 12 else 'am'}"  # 12 is noon


ROMAN = Domain(
    "roman", "numbers from 1 to 3999 in Roman numerals", 3999,
    ("Write {x} in Roman numerals.", "What is {x} in Roman numerals?"),
    show=lambda value: str(value + 1), solve=lambda value: roman(value + 1),
)  # fmt: skip
ISO_DATE = Domain(
    "iso-date", "dates from 1900 to 2099 in the form year-month-day", _DAYS,
    ("Write {x} as an ISO date.", "What is the ISO date of {x}?"),
    show=_long_date, solve=_iso_date,
)  # fmt: skip
CLOCK12 = Domain(
    "clock12", "times of day on the 12-hour clock", 24 * 60,
    ("What is {x} on a 12-hour clock?", "Write the time {x} with am or pm."),
    show=_clock24, solve=_clock12,
)  # fmt: skip

DOMAINS: dict[str, Domain] = {domain.name: domain for domain in (ROMAN, ISO_DATE, CLOCK12)}


def _drawn(domain: Domain, seed: int, n: int, half: int) -> list[Pair]:
    """Return ``n`` pairs of one half (0 or 1) of the values, each value at most once.

    Raises:
        ValueError: the half holds fewer than ``n`` values.
    """
    values = list(range(domain.size))
    random.Random(f"{domain.name} values {seed}").shuffle(values)
    mine = values[half::2]
    if n > len(mine):
        message = f"{domain.name} holds {len(mine)} values on each side, not {n}"
        raise ValueError(message)
    rng = random.Random(f"{domain.name} wordings {seed} {half}")
    return [
        Pair(rng.choice(domain.wordings).format(x=domain.show(v)), domain.solve(v), v)
        for v in mine[:n]
    ]  # fmt: skip


def corrections(domain: Domain, seed: int, n: int = CORRECTIONS_MAX) -> list[Pair]:
    """Return what the domain's expert corrects: ``n`` different values of the seed's first half."""
    return _drawn(domain, seed, n, 0)


def questions(domain: Domain, seed: int, n: int = 300) -> list[Pair]:
    """Return ``n`` different values of the seed's second half, which occur in no correction."""
    return _drawn(domain, seed, n, 1)
