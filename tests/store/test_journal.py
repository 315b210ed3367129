"""The journal: the last word counts, and what is forgotten is in no file."""

import math

import pytest

from hivelearn.store.correction import TIME_MAX_S
from hivelearn.store.errors import ForgetWhatError, UnknownCorrectionError
from hivelearn.store.home import Home
from hivelearn.store.journal import Count, latest
from hivelearn.store.store import Store


def bytes_of(home):
    files = [path for path in home.path.rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


def question(n):
    return f"Write {n} in Roman numerals."


def test_a_correction_comes_back_as_it_was_given(store, correct):
    given = correct(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "14?"}],
        wrong="IVX",
        subject="a person, or none",
        generation=3,
        created_s=1234.567891,
    )
    with store.writing("test"):
        assert store.journal.add([given]) == 1
        assert store.journal.add([given]) == 0
    assert store.journal.list() == (given,)
    assert store.journal.find(given.id) == store.journal.find(given.id[:8]) == given
    for name in ("0" * 64, given.id[:7], ""):
        with pytest.raises(UnknownCorrectionError):
            store.journal.find(name)


def test_no_question_stands_on_both_sides(store, correct):
    with store.writing("test"):
        store.journal.add(correct(question(n), created_s=n) for n in range(100))
        store.journal.add(
            correct(question(n).upper(), "again", created_s=n + 0.5) for n in range(100)
        )
    train = store.journal.list("roman", holdout=False)
    judge = store.journal.list("roman", holdout=True)
    assert len(train) + len(judge) == len(store.journal.list()) == 100
    assert not {c.prompt for c in train} & {c.prompt for c in judge}
    assert store.journal.counts() == {"roman": Count(len(train), len(judge))}
    assert 5 < len(judge) < 40


def test_the_latest_answer_supersedes_and_the_history_is_kept(store, correct):
    old, new = correct("14?", "IVX", created_s=1), correct(" 14? ", "XIV", created_s=2)
    hexadecimal = correct("14?", "E", "hex", created_s=0)
    with store.writing("test"):
        store.journal.add([new, hexadecimal, old])
    assert store.journal.list("roman") == (new,)
    assert store.journal.list("roman", superseded=True) == (old, new)
    assert store.journal.list() == (hexadecimal, new)


def test_which_answer_is_latest_does_not_depend_on_the_order_of_arrival(correct):
    twins = [correct("14?", right, created_s=1) for right in ("XIV", "IVX")]
    assert latest(twins) == latest(reversed(twins))


def test_readers_see_the_inbox_and_the_next_writer_drains_it(store, correct):
    first, second = correct("1?", created_s=1), correct("2?", created_s=2)
    store.remember(second)
    store.remember(first)
    assert store.journal.list() == (first, second)
    assert sum(c.training + c.holdout for c in store.journal.counts().values()) == 2
    assert len(list(store.home.inbox.iterdir())) == 2
    with store.writing("test"):
        assert list(store.home.inbox.iterdir()) == []
        assert store.journal.list() == (first, second)
    assert store.journal.list() == (first, second)


def test_within_a_writing_block_a_correction_goes_straight_to_the_journal(store, correct):
    with store.writing("test"):
        store.remember(correct("1?"))
        assert list(store.home.inbox.iterdir()) == []
    assert len(store.journal.list()) == 1
    with Store(Home.open(store.home.path)).writing("another node", wait_s=0.0):
        pass  # and the block has ended


GARBAGE = {
    "no json": b"\xff\xfe",
    "no object": b"[]",
    "deep": b"[" * 100_000,
    "huge": b" " * (512 * 1024 + 1),
    "empty": b"",
    "no correction": b'{"messages": []}',
    "no text as wrong": b'{"messages": [{"role": "user", "content": "1?"}], "right": "I",'
    b' "domain": "roman", "base": "%s", "created_s": 1, "wrong": []}' % (b"62" * 32),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_in_the_inbox_is_set_aside_and_hides_nothing(store, correct, data):
    store.remember(correct("1?"))
    (store.home.inbox / "000-garbage.json").write_bytes(data)
    assert len(store.journal.list()) == 1
    with store.writing("test"):
        pass
    assert [path.name for path in store.inbox.garbage()] == ["000-garbage.json"]
    assert len(store.journal.list()) == 1


def test_an_inbox_file_that_was_changed_is_not_believed(store, correct):
    store.remember(correct("1?", "one"))
    (path,) = store.home.inbox.iterdir()
    path.write_text(path.read_text().replace("one", "two"))
    with store.writing("test"):
        assert store.journal.list() == ()
    assert len(store.inbox.garbage()) == 1


def test_forgetting_leaves_no_bytes_in_any_file(store, correct):
    secret = "quicksilver-{}-" + "x" * 300
    kept = [correct(question(n), "kept" * 50, created_s=n) for n in range(60)]
    gone = [correct(f"{n}?", secret.format(n), "secret", created_s=n) for n in range(60)]
    with store.writing("test"):
        for pair in zip(kept, gone, strict=True):
            store.journal.add(pair)  # page by page beside what stays
        assert b"quicksilver" in bytes_of(store.home)
        for correction in gone[::2]:
            assert store.journal.forget(correction=correction.id).corrections == 1
        assert b"quicksilver-58" not in bytes_of(store.home)
        assert b"quicksilver-59" in bytes_of(store.home)
        store.remember(correct("late?", "quicksilver", "secret"))
        done = store.journal.forget(domain="secret")
        assert (done.corrections, done.bytes_gone) == (31, True)
        assert b"quicksilver" not in bytes_of(store.home)
        assert store.journal.list() == tuple(kept)
    assert b"quicksilver" not in bytes_of(store.home)


def test_forgetting_an_answer_forgets_what_it_superseded(store, correct):
    old, new = correct("14?", "quicksilver", created_s=1), correct("14?", created_s=2)
    store.remember(old)
    with store.writing("test"):
        store.journal.add([new])
        assert store.journal.forget(correction=new.id).corrections == 2
        with pytest.raises(UnknownCorrectionError):
            store.journal.forget(correction=new.id)
    assert b"quicksilver" not in bytes_of(store.home)


def test_forgetting_inside_a_transaction_is_finished_when_the_block_ends(store, correct):
    with store.writing("test"):
        store.journal.add([correct("14?", "quicksilver")])
        with store.together():
            assert not store.journal.forget(domain="roman").bytes_gone
    assert b"quicksilver" not in bytes_of(store.home)


@pytest.mark.parametrize("named", [{}, {"correction": "0" * 64, "domain": "roman"}])
def test_forgetting_names_one_thing(store, named):
    with store.writing("test"), pytest.raises(ForgetWhatError, match="either"):
        store.journal.forget(**named)


def test_a_correction_made_now_is_later_than_all_of_its_domain_whatever_the_clock_says(
    store, correct
):
    assert store.journal.now(5.0, "roman") == 5.0
    store.remember(correct("14?", created_s=2e9))  # in the inbox
    assert 2e9 < store.journal.now(1.7e9, "roman") < 2e9 + 1e-5
    assert store.journal.now(1.7e9, "hex") == 1.7e9  # nobody else's clock moves
    with store.writing("test"):
        pass
    assert 2e9 < store.journal.now(1.7e9, "roman") < 2e9 + 1e-5  # in the journal
    assert 2e9 < store.journal.now(2e9) < 2e9 + 1e-5  # a clock that stands
    assert store.journal.now(2.1e9) == 2.1e9


def test_after_the_last_day_there_is_no_later_time(store, correct):
    store.remember(correct("14?", created_s=TIME_MAX_S))
    assert store.journal.now(1.0, "roman") == TIME_MAX_S
    before = math.nextafter(TIME_MAX_S, 0)
    store.remember(correct("14?", domain="hex", created_s=before))
    assert store.journal.now(1.0, "hex") > before


def judge(correct):
    """A question that its hash holds out, and one that it does not."""
    made = [correct(question(n), created_s=n) for n in range(50)]
    return next(c for c in made if c.holdout), next(c for c in made if not c.holdout)


@pytest.mark.parametrize("where", ["inbox", "journal"])
def test_the_only_question_of_a_domain_is_never_held_out(store, correct, where):
    held, other = judge(correct)
    again = correct(held.messages[-1].content, "said better", created_s=99.0)
    for each in (held, again):
        store.remember(each)
    if where == "journal":
        with store.writing("test"):
            pass
    assert store.journal.list("roman", holdout=False) == (again,)
    assert store.journal.list("roman", holdout=True) == ()
    assert store.journal.counts() == {"roman": Count(training=1, holdout=0)}
    store.remember(other)  # from the second question on the hash alone decides
    assert store.journal.list("roman", holdout=False) == (other,)
    assert store.journal.list("roman", holdout=True) == (again,)
    assert store.journal.counts() == {"roman": Count(training=1, holdout=1)}


def test_what_was_found_of_a_forgotten_correction_is_forgotten_too(store, correct):
    given = correct("14?")
    with store.writing("test"):
        store.journal.add([given, correct("15?")])
        store.marks.leave_out(given.base, {given.id: "too long", "another": "too long"})
        store.journal.forget(correction=given.id[:12])
        assert store.marks.left_out(given.base) == {"another": "too long"}
    assert given.id.encode() not in bytes_of(store.home)
