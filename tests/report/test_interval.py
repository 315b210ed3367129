"""A number reads as what was measured, never as more."""

import pytest

from hivelearn.report.interval import (
    UNMEASURED_TEXT,
    bytes_text,
    number_text,
    percent_text,
)


def test_what_was_not_measured_says_so():
    for text in (number_text, percent_text, bytes_text):
        assert text(None) == UNMEASURED_TEXT


def test_a_rounded_zero_has_no_minus():
    assert number_text(-0.0001, signed=True) == "+0.000"
    assert number_text(-0.0006, signed=True) == "-0.001"
    assert number_text(2.5, 1) == "2.5"


SHARES = {
    0.0: "0 %",
    0.001: "<1 %",
    0.5: "50 %",
    299 / 300: ">99 %",
    1.0: "100 %",
}


@pytest.mark.parametrize(("share", "text"), SHARES.items(), ids=SHARES.values())
def test_only_all_reads_as_all_and_only_none_as_none(share, text):
    assert percent_text(share) == text


def test_more_digits_move_the_border_of_all():
    assert percent_text(299 / 300, 1) == "99.7 %"
    assert percent_text(0.99999, 1) == ">99.9 %"


SIZES = {0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 20 << 20: "20.0 MiB", 1 << 50: "1024.0 TiB"}


@pytest.mark.parametrize(("size", "text"), SIZES.items())
def test_a_size_stands_in_the_largest_unit_that_it_fills(size, text):
    assert bytes_text(size) == text
