"""The test kit itself: virtual time costs nothing, conditions does what it says."""

import asyncio
import time

import pytest

from hivelearn.testing.clock import ManualClock, run_virtual
from hivelearn.testing.network_conditions import NetworkConditions

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


def test_a_clock_moves_only_by_hand():
    clock = ManualClock(5.0)
    clock.move(2.5)
    assert clock() == 7.5


def test_hours_pass_in_no_time_and_in_order():
    heard = []

    async def wait(seconds):
        await asyncio.sleep(seconds)
        heard.append(seconds)

    async def main():
        await asyncio.gather(wait(7_200), wait(1), wait(3_600))
        return asyncio.get_running_loop().time()

    begun = time.monotonic()
    assert run_virtual(main()) == pytest.approx(7_200)
    assert heard == [1, 3_600, 7_200]
    assert time.monotonic() - begun < 5


def test_waiting_for_what_never_comes_is_an_error_and_not_a_hang():
    async def main():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="for ever"):
        run_virtual(main())


def test_a_partition_stops_all_between_its_sides_and_nothing_within():
    conditions = NetworkConditions(seed=0, latency_s=0.1, loss=0.0)
    conditions.part([A, B], [C])
    assert conditions(A, C, False) is None
    assert conditions(A, B, True) is not None
    conditions.heal()
    assert 0.1 <= conditions(A, C, False) <= 0.15


def test_loss_takes_posts_and_delays_the_rest():
    conditions = NetworkConditions(seed=0, latency_s=0.1, loss=0.3)
    posts = [conditions(A, B, True) for _ in range(1_000)]
    frames = [conditions(A, B, False) for _ in range(1_000)]
    assert 200 < posts.count(None) < 400
    assert None not in frames
    assert 200 < sum(delay > 0.15 for delay in frames) < 400


def test_the_same_seed_is_the_same_weather():
    def hour(seed):
        conditions = NetworkConditions(seed, latency_s=0.1, loss=0.3)
        return [conditions(A, B, True) for _ in range(50)]

    assert hour(1) == hour(1) != hour(2)
