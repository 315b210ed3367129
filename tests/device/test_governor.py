"""Pacing: a whole night in a millisecond, and not one item lost."""

import threading
from dataclasses import replace
from datetime import time
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.device.governor import Governor
from hivelearn.device.limits import SAFETY
from hivelearn.device.permit import FULL, QUARTER, REST
from hivelearn.device.reading import Reading, known
from hivelearn.errors import UsageError

COOL = Reading(cpu_c=known(60.0), has_battery=known(value=False))
BLIND = Reading(has_battery=known(value=True), on_mains=known(value=True))


class Machine:
    """A hand-moved clock, readings by the time, and a memory of every sleep."""

    def __init__(self, reading_at=lambda _: COOL):
        self.now_s, self.slept, self.reads = 0.0, [], 0
        self.reading_at = reading_at

    def read(self):
        self.reads += 1
        return self.reading_at(self.now_s)

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now_s += seconds

    def work(self, steps, step_s=1.0):
        for step in range(steps):
            self.now_s += step_s
            yield step

    def governor(self, limits=SAFETY, **doors):
        doors = {"sleep": self.sleep, "local_time": lambda: time(12, 0)} | doors
        return Governor(limits, read=self.read, monotonic=lambda: self.now_s, **doors)


def heat_wave(now_s):
    """Three hours: every half hour the CPU runs hot for ten minutes and cools for five."""
    minute = now_s / 60 % 30
    celsius = 90.0 if 10 <= minute < 20 else 80.0 if 20 <= minute < 25 else 60.0
    return replace(COOL, cpu_c=known(celsius))


def test_three_hours_of_heat_pause_the_work_six_times_and_lose_nothing():
    machine, changes = Machine(heat_wave), []
    governor = machine.governor(on_change=lambda permit: changes.append(permit.duty))
    done_at = [machine.now_s / 60 % 30 for _ in governor.paced(machine.work(5400))]
    assert len(done_at) == 5400
    assert machine.now_s == pytest.approx(3 * 3600, rel=0.01)  # half of it is rest
    assert changes == [FULL] + [REST, FULL] * 6
    recheck_min = 10 / 60  # one reading is believed so long
    assert all(m <= 10 + recheck_min or m >= 25 for m in done_at)


def test_a_quarter_duty_sleeps_three_times_the_measured_work():
    machine = Machine(lambda _: BLIND)
    for _ in machine.governor().paced(machine.work(3, step_s=2.0)):
        machine.now_s += 1.0  # the body of the loop is work too
    assert machine.slept == [9.0, 9.0, 9.0]


def test_full_duty_never_sleeps_and_reads_the_sensors_seldom():
    machine = Machine()
    assert list(machine.governor(recheck_s=10.0).paced(machine.work(100))) == list(range(100))
    assert machine.slept == []
    assert machine.reads == pytest.approx(10, abs=1)


@given(st.lists(st.sampled_from([FULL, QUARTER, REST]), max_size=30), st.integers(0, 20))
def test_whatever_the_permits_no_item_is_eaten_or_reordered(duties, items):
    hot = replace(COOL, cpu_c=known(99.0))
    rows = iter([{FULL: COOL, QUARTER: BLIND, REST: hot}[duty] for duty in duties])
    machine = Machine(lambda _: next(rows, COOL))
    governor = machine.governor(recheck_s=0.5)
    assert list(governor.paced(machine.work(items))) == list(range(items))


def test_nothing_is_taken_while_the_machine_must_rest():
    machine, taken = Machine(lambda now_s: heat_wave(now_s + 600)), []
    paced = machine.governor().paced(taken.append(n) or n for n in count())
    assert next(paced) == 0
    assert machine.now_s == 15 * 60  # ten minutes hot, five cooling
    assert taken == [0]


def test_an_error_of_the_work_passes():
    def work():
        yield 1
        raise ZeroDivisionError

    paced = Machine().governor().paced(work())
    assert next(paced) == 1
    with pytest.raises(ZeroDivisionError):
        next(paced)


def test_closing_closes_the_inner_generator():
    closed = []

    def work():
        try:
            yield from count()
        finally:
            closed.append(True)

    inner = work()  # held, so that no garbage collector closes it for us
    paced = Machine().governor().paced(inner)
    next(paced)
    paced.close()
    assert closed == [True]


def test_an_iterator_with_an_owner_is_left_open_and_where_it_stands():
    session = iter(range(10))
    for step in Machine().governor().paced(session):
        if step == 3:
            break
    assert next(session) == 4


def test_a_sleep_that_says_so_ends_the_pacing_at_rest():
    stop = threading.Event()
    stop.set()
    machine = Machine(lambda _: replace(COOL, cpu_c=known(99.0)))
    assert list(machine.governor(sleep=stop.wait).paced(count())) == []


def test_a_sleep_that_says_so_ends_the_pacing_at_a_quarter():
    machine = Machine(lambda _: BLIND)
    governor = machine.governor(sleep=lambda _: True)
    assert list(governor.paced(machine.work(5))) == [0]


def test_a_pause_holds_at_once_and_ends_at_once():
    machine = Machine()
    governor = machine.governor()
    assert governor.permit().work
    governor.pause()
    assert governor.permit().why == "You paused it."
    assert governor.last.duty == REST
    governor.resume()
    assert governor.permit().work


def test_the_last_permit_is_there_without_looking():
    machine = Machine()
    assert not machine.governor().last.work
    assert machine.reads == 0


def test_the_hours_are_those_of_the_clock_given():
    machine = Machine()
    limits = replace(SAFETY, hours="22:00-06:00")
    assert not machine.governor(limits).permit().work
    assert machine.governor(limits, local_time=lambda: time(23, 0)).permit().work


def test_changes_of_duty_are_told_once_each():
    machine, told = Machine(lambda now_s: BLIND if now_s >= 20 else COOL), []
    governor = machine.governor(on_change=told.append)
    for machine.now_s in (0, 10, 20, 30):
        governor.permit()
    assert [permit.duty for permit in told] == [FULL, QUARTER]


def test_a_first_refusal_is_told_too():
    machine, told = Machine(lambda _: replace(COOL, cpu_c=known(99.0))), []
    machine.governor(on_change=told.append).permit()
    assert told[0].why == "The CPU is at 99 °C, above 85 °C."


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_a_recheck_that_is_no_time_is_refused(wrong):
    with pytest.raises(UsageError):
        Governor(recheck_s=wrong)


def test_the_real_doors_open_on_this_machine():
    assert list(Governor(sleep=lambda _: True).paced([1])) in ([1], [])  # [] on a hot machine


@pytest.mark.parametrize("wrong", [5, None, "22:00-06:00"])
def test_limits_that_are_none_are_refused(wrong):
    with pytest.raises(UsageError) as caught:
        Governor(wrong)
    assert caught.value.remedy.startswith("Give limits as ")
