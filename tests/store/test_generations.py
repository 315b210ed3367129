"""Generations: a log that only grows, and a rollback that walks back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.store.database import Database
from hivelearn.store.errors import NothingToRollBackError, StaleGenerationError
from hivelearn.store.generations import Generation, Generations, Served, undoable

BASE = b"b" * 32


def served(name, **card):
    return Served(name.encode(), f"{name:0>64}", b"a" * 32, **card)


def state(name="a", domain="roman", **more):
    fields = {"experts": (), "why": f"train {name}", "created_s": 1.0} | more
    return Generation(BASE, domain, served(name), **fields)


def content(generation):
    return (generation.specialist, generation.experts)


@pytest.fixture
def log(tmp_path):
    db = Database(tmp_path / "hive.db")
    with db.opened():
        db.migrate()
        yield Generations(db)


def test_what_is_committed_is_current_and_whole(log):
    experts = (served("e", median=0.1, ceiling=0.123456789, floor=0.75), served("d"))
    given = state("a", experts=experts, report='{"gain": 0.03}')
    assert log.current(BASE, "roman") is None
    assert log.commit(given) == 1
    now = log.current(BASE, "roman")
    assert now.number == 1
    assert content(now) == content(given)
    assert (now.report, now.why, now.undoes) == ('{"gain": 0.03}', "train a", None)


def test_experts_are_sorted_whatever_order_they_come_in(log):
    merged = Served(None, "f" * 64, b"a" * 32)
    one, two = (served("d"), served("e"), merged), (merged, served("e"), served("d"))
    assert state(experts=one) == state(experts=two)
    log.commit(state(experts=two))
    assert log.current(BASE, "roman").experts == state(experts=one).experts


def test_domains_and_bases_have_their_own_numbers(log):
    assert [log.commit(state(d, d)) for d in ("roman", "iso-date", "roman")] == [1, 1, 2]
    other = Generation(b"c" * 32, "roman", None, (served("e"),), "admit", 1.0)
    assert log.commit(other) == 1
    assert [(g.domain, g.number) for g in log.serving(BASE)] == [("iso-date", 1), ("roman", 2)]
    assert log.serving(b"x" * 32) == ()


def test_a_judgement_about_an_older_state_is_not_committed(log):
    log.commit(state("a", number=1))
    with pytest.raises(StaleGenerationError):
        log.commit(state("b", number=1))
    assert log.commit(state("b", number=2)) == 2


def test_rolling_back_twice_walks_back_and_never_swings(log):
    for name in "abc":
        log.commit(state(name))
    walked = [log.rollback(BASE, "roman", 2.0) for _ in range(3)]
    assert [g.undoes for g in walked] == [3, 2, 1]
    assert [g.specialist for g in walked] == [served("b"), served("a"), None]
    with pytest.raises(NothingToRollBackError):
        log.rollback(BASE, "roman", 2.0)
    assert [g.number for g in log.history(BASE, "roman")] == [1, 2, 3, 4, 5, 6]


def test_nothing_to_roll_back_before_anything_was_committed(log):
    with pytest.raises(NothingToRollBackError):
        log.rollback(BASE, "roman", 1.0)
    assert log.history(BASE, "roman") == ()


@settings(max_examples=25, deadline=None)  # every step is a durable commit
@given(st.lists(st.booleans(), max_size=12))
def test_the_log_behaves_as_an_undo_stack_that_never_loses_a_line(tmp_path_factory, steps):
    db = Database(tmp_path_factory.mktemp("log") / "hive.db")
    stack, lines = [], 0
    with db.opened():
        db.migrate()
        log = Generations(db)
        for count, is_commit in enumerate(steps):
            if is_commit:
                stack.append(state(f"{count}"))
                log.commit(stack[-1])
            elif stack:
                stack.pop()
                log.rollback(BASE, "roman", 1.0)
            else:
                with pytest.raises(NothingToRollBackError):
                    log.rollback(BASE, "roman", 1.0)
                continue
            lines += 1
            now = log.current(BASE, "roman")
            assert content(now) == (content(stack[-1]) if stack else (None, ()))
            assert now.number == lines
        assert len(undoable(log.history(BASE, "roman"))) == len(stack)
