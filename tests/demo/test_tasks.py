"""The demonstration's subjects: splits never meet, and every answer has a second opinion."""

from __future__ import annotations

from datetime import datetime

import pytest

from hivelearn.demo.tasks import CORRECTIONS_MAX, DOMAINS, Domain, corrections, questions, roman

EVERY = pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS.keys())
SIGNS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def value_of_roman(written: str) -> int:
    """Read Roman numerals by the rule of subtraction, not by the table that wrote them."""
    worths = [SIGNS[sign] for sign in written]
    later = [*worths[1:], 0]
    return sum(-w if w < after else w for w, after in zip(worths, later, strict=True))


def answer_by_strptime(domain: Domain, value: int) -> str:
    """Return the answer as the standard library's own parser and formatter give it."""
    shown = domain.show(value)
    if domain.name == "iso-date":
        return datetime.strptime(shown, "%d %B %Y").strftime("%Y-%m-%d")  # noqa: DTZ007
    moment = datetime.strptime(shown, "%H:%M")  # noqa: DTZ007 - a time of day has no zone
    return moment.strftime("%I:%M ").lstrip("0") + moment.strftime("%p").lower()


@EVERY
def test_no_value_stands_on_both_sides_for_any_seed(domain):
    for seed in range(30):
        taught = {pair.value for pair in corrections(domain, seed)}
        asked = {pair.value for pair in questions(domain, seed)}
        assert len(taught) == CORRECTIONS_MAX
        assert len(asked) == 300
        assert not taught & asked


@EVERY
def test_no_prompt_stands_on_both_sides(domain):
    taught = {pair.prompt for pair in corrections(domain, 7)}
    assert not taught & {pair.prompt for pair in questions(domain, 7)}


@EVERY
def test_the_same_seed_gives_the_same_pairs_and_another_seed_others(domain):
    assert corrections(domain, 3, 50) == corrections(domain, 3, 50)
    assert questions(domain, 3, 50) == questions(domain, 3, 50)
    assert questions(domain, 3, 50) != questions(domain, 4, 50)


@EVERY
def test_fewer_pairs_are_a_beginning_of_more(domain):
    assert corrections(domain, 1, 400)[:60] == corrections(domain, 1, 60)


@EVERY
def test_more_pairs_than_values_are_refused(domain):
    with pytest.raises(ValueError, match="values on each side"):
        questions(domain, 0, domain.size)


@EVERY
def test_a_question_shows_its_value_and_carries_its_answer(domain):
    for pair in corrections(domain, 5) + questions(domain, 5):
        assert domain.show(pair.value) in pair.prompt
        assert pair.answer == domain.solve(pair.value)


def test_every_roman_numeral_reads_back_as_its_number():
    written = [roman(number) for number in range(1, 4000)]
    assert [value_of_roman(text) for text in written] == list(range(1, 4000))
    assert len(set(written)) == 3999
    assert not any(sign * 4 in text for text in written for sign in SIGNS)


@pytest.mark.parametrize("name", ["iso-date", "clock12"])
def test_every_answer_agrees_with_strptime(name):
    domain = DOMAINS[name]
    for value in range(0, domain.size, 1 if domain.size < 2000 else 7):
        assert domain.solve(value) == answer_by_strptime(domain, value)


def test_both_ends_of_every_space_are_as_people_write_them():
    def ends(domain):
        return [f"{domain.show(v)} -> {domain.solve(v)}" for v in (0, domain.size - 1)]

    assert {name: ends(domain) for name, domain in DOMAINS.items()} == {
        "roman": ["1 -> I", "3999 -> MMMCMXCIX"],
        "iso-date": ["1 January 1900 -> 1900-01-01", "31 December 2099 -> 2099-12-31"],
        "clock12": ["00:00 -> 12:00 am", "23:59 -> 11:59 pm"],
    }
