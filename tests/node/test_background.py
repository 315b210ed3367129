"""A background run works while the device permits, and stops within seconds, even if told twice."""

import time

import pytest

from hivelearn.errors import UsageError
from hivelearn.node import background
from hivelearn.node.background import BackgroundRun, Schedule
from hivelearn.node.learn import train
from hivelearn.swarm.fabrics.memory import MemoryNetwork
from hivelearn.training.recipe import Recipe


@pytest.fixture
def start():
    """Return a function that starts quick rounds outside any swarm."""
    started = []

    def begin(node, *domains, round_s=0.02):
        started.append(BackgroundRun(node.context, Schedule(domains, round_s=round_s)))
        return started[-1]

    yield begin
    for each in started:
        each.stop()


def until(holds, seconds=20.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def test_it_trains_when_there_are_corrections_and_only_once(make, kit, start):
    node = make()
    kit.teach(node, "yes", "yes yes")
    alive = start(node)
    until(lambda: alive.trained)
    time.sleep(0.2)
    assert [r.domain for r in alive.trained] == ["yes"]
    assert alive.permit.work
    assert "alive" in repr(alive)
    alive.stop()
    alive.stop()
    assert "stopped" in repr(alive)
    assert alive.errors == []
    assert node.status().domains[0].generation == 1
    assert node.status().writer is None


def test_stopping_in_the_middle_of_a_long_training_takes_a_step_and_keeps_it(make, kit, start):
    from dataclasses import replace

    node = make(recipe=replace(kit.TINY, steps=100_000))
    kit.teach(node, "yes", "yes yes")
    alive = start(node, "yes")
    until(lambda: alive.permit is not None and node.status().writer is not None)
    time.sleep(0.3)
    began = time.monotonic()
    alive.stop()
    assert time.monotonic() - began < 5
    (report,) = alive.trained
    assert report.patch is None
    assert 0 < report.steps < 100_000
    assert node.status().domains[0].paused


def test_it_merges_what_arrived(make, kit, author, start):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    kit.send(patch, node)
    alive = start(node, "yes")
    until(lambda: alive.merged)
    assert alive.merged[0].outcome == "admitted"


def test_a_hot_device_does_nothing_and_says_why(make, kit, start):
    stage = kit.Stage(read=lambda: kit.at(95.0))
    node = make(stage=stage)
    kit.teach(node, "yes", "yes yes")
    alive = start(node)
    until(lambda: alive.permit is not None)
    time.sleep(0.1)
    assert alive.trained == []
    assert "above 85 °C" in repr(alive)
    began = time.monotonic()
    alive.stop()
    assert time.monotonic() - began < 5


def test_an_error_of_a_round_is_kept_and_the_next_round_comes(make, kit, start):
    node = make(recipe=Recipe(targets="no_such_module"))
    kit.teach(node, "yes", "yes yes")
    alive = start(node)
    until(lambda: len(alive.errors) >= 2)
    assert "no_such_module" in alive.errors[0]
    assert alive.trained == []


def test_a_bug_in_a_round_is_told_and_the_next_round_comes(make, kit, start, caplog):
    def broken():
        raise ZeroDivisionError

    alive = start(make(stage=kit.Stage(read=broken)), "yes", round_s=0.001)
    until(lambda: alive.errors)
    assert set(alive.errors) == {"ZeroDivisionError()"}
    assert "alive" in repr(alive)
    assert "a bug of ours ended a round" in caplog.text


def test_a_run_keeps_the_newest_of_its_errors(make, kit, start):
    node = make(recipe=Recipe(targets="no_such_module"))
    kit.teach(node, "yes", "yes yes")
    alive = start(node, round_s=0.0)
    until(lambda: len(alive.errors) == background.ERRORS_MAX)
    time.sleep(0.1)
    assert len(alive.errors) == background.ERRORS_MAX


def test_what_a_person_does_meanwhile_is_not_the_runs(make, kit, start):
    node = make(stage=kit.Stage(read=lambda: kit.at(95.0)))
    alive = start(node)
    node.merge("yes")
    assert alive.merged == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_run_whose_thread_was_ended_does_not_say_that_it_lives(make, kit, start):
    def ended():
        raise SystemExit  # ends a thread without a word

    alive = start(make(stage=kit.Stage(read=ended)))
    until(lambda: "stopped" in repr(alive))


def test_a_correction_that_comes_while_a_training_rests_is_learnt_by_the_next(make, kit, start):
    node = make()
    kit.teach(node, "yes", "yes yes")
    stop = iter([False, False, True])
    context = node.context
    train.train(context, "yes", kit.TINY, context.config.safety, lambda _: next(stop))
    node.correct(kit.prompts("yes, later", 1, held=False)[0], "yes yes", domain="yes")
    alive = start(node)
    until(lambda: len(alive.trained) == 2)
    assert [(r.corrections, r.newer) for r in alive.trained] == [(16, 1), (17, 0)]


def test_hours_that_are_none_are_refused_before_anything_starts(make):
    node = make()
    with pytest.raises(UsageError, match="22:00-06:00"):
        node.live("yes", hours="at night")


def test_without_any_domain_it_waits_for_the_first_correction(make, kit, start):
    node = make()
    alive = start(node)
    until(lambda: alive.permit is not None)
    kit.teach(node, "yes", "yes yes")
    until(lambda: alive.trained)


def test_who_finds_nobody_else_that_teaches_trains_alone(make, kit, monkeypatch):
    """Somebody is there, and teaches nothing: after a minute one goes on by oneself."""
    network, how = MemoryNetwork(), {"fabric": "memory"}
    monkeypatch.setattr(background, "ALONE_S", 0.5)
    node, listener = make("teacher"), make("listener")
    kit.teach(node, "yes", "yes yes")
    with listener.join("yes", network=network, **how):
        alive = node.live("yes", network=network, **how)
        until(lambda: alive.trained, seconds=60.0)
        assert alive.trained[0].domain == "yes"
        alive.stop()
