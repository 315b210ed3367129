"""Who kept us waiting waits in turn; bytes and time make up for it."""

import pytest

from hivelearn.swarm.limits import SwarmLimits
from hivelearn.swarm.patience import KEPT_MAX, Patience

K, OTHER = b"k" * 32, b"o" * 32
LIMITS = SwarmLimits(backoff_s=5.0, backoff_max_s=600.0, forgiven_bytes=1_000)


def tried(times, gap_s=0.0):
    """Return a patience with ``K`` after so many silences, and the seconds that each cost it."""
    patience, now, waits = Patience(LIMITS), 0.0, []
    for _ in range(times):
        patience.lose(K, now)
        waits.append(patience.records[K].until - now)
        now = patience.records[K].until + gap_s
    return patience, waits, now


def test_each_silence_costs_twice_as_long_up_to_a_bound():
    _, waits, _ = tried(9)
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600]


def test_it_is_asked_again_when_the_time_is_over_and_others_meanwhile():
    patience, _, _ = tried(1)
    assert [patience.waits(K, now) for now in (0.0, 4.9, 5.0)] == [True, True, False]
    assert not patience.waits(OTHER, 0.0)


def test_bytes_make_up_for_silences_one_after_the_other():
    patience, _, now = tried(3)
    patience.lose(K, now)
    patience.regain(K, 999)
    assert patience.waits(K, now)
    patience.regain(K, 1)
    assert not patience.waits(K, now)
    assert patience.order(K)[0] == 3
    patience.regain(K, 10_000)
    assert patience.order(K) == (0, False)


def test_a_quick_megabyte_does_not_buy_silence_for_ever():
    patience = Patience(LIMITS)
    for _ in range(10):
        patience.regain(K, 900)
        patience.lose(K, 0.0)
    assert patience.records[K].until == 600.0


def test_ten_good_minutes_make_up_for_all():
    patience, _, now = tried(6)
    patience.lose(K, now + 601.0)
    assert patience.records[K].until == now + 601.0 + 5.0


@pytest.mark.parametrize("times", [1_000, 5_000])
def test_however_often_it_is_silent_the_wait_is_a_number(times):
    _, waits, _ = tried(times)
    assert waits[-1] == 600.0


def test_who_was_quicker_and_gave_something_comes_first():
    patience = Patience(LIMITS)
    new, proved, silent = b"n", b"p", b"s"
    patience.regain(proved, 5)
    patience.lose(silent, 0.0)
    assert sorted((silent, new, proved), key=patience.order) == [proved, new, silent]


def test_memory_of_keys_is_bounded():
    patience = Patience(LIMITS)
    for number in range(KEPT_MAX + 9):
        patience.lose(number.to_bytes(32, "big"), 0.0)
    assert len(patience.records) == KEPT_MAX
