"""The shelf: which moves make sense, and what lies around a number of a feed."""

import pytest

from hivelearn.patch.feed import Neighbours
from hivelearn.store.database import Database
from hivelearn.store.errors import NotWritingError, UnknownPatchError, WrongStateError
from hivelearn.store.generations import Generation, Served
from hivelearn.store.shelf import (
    ENVELOPE_MAX_BYTES,
    MOVES,
    NUMBER_MAX,
    STATES,
    WITHOUT_PAYLOAD,
    Shelf,
    ShelfEntryError,
)

BLOB = "ab" * 32

MALFORMED = {
    "short id": {"id": b"x"},
    "text as id": {"id": "x" * 32},
    "short author": {"author": b""},
    "seq beyond SQLite's integers": {"seq": NUMBER_MAX + 1},
    "negative epoch": {"epoch": -1},
    "true as seq": {"seq": True},
    "domain in capitals": {"domain": "Roman"},
    "no envelope": {"envelope": b""},
    "huge envelope": {"envelope": bytes(ENVELOPE_MAX_BYTES + 1)},
    "unknown state": {"state": "loved"},
    "quarantined without payload": {"payload": None},
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_entry_cannot_exist(entry, fields):
    with pytest.raises(ShelfEntryError):
        entry("a", **fields)


def test_what_is_added_is_found_again_whole(store, entry):
    given = entry("a", seq=NUMBER_MAX, verdict='{"layer": 1}', reason="early")
    with store.writing("test"):
        assert store.shelf.add(given)
        assert not store.shelf.add(entry("a", reason="told again"))
    assert store.shelf.get(given.id) == given
    assert store.shelf.list() == (given,)


@pytest.mark.parametrize("there", STATES)
@pytest.mark.parametrize("here", STATES)
def test_only_the_moves_of_the_table_are_made(tmp_path, entry, here, there):
    db = Database(tmp_path / "hive.db")
    with db.opened():
        db.migrate()
        shelf = Shelf(db)
        shelf.add(entry("a", state=here, payload=BLOB))
        if there == here or there in MOVES[here]:
            moved = shelf.move(entry("a").id, there, verdict="{}", reason="why")
            assert (moved.state, moved.verdict, moved.reason) == (there, "{}", "why")
        else:
            with pytest.raises(WrongStateError):
                shelf.move(entry("a").id, there)
            assert shelf.get(entry("a").id).state == here


def test_every_state_has_its_moves_and_no_move_leads_nowhere():
    assert set(MOVES) == set(STATES)
    assert set().union(*MOVES.values()) <= set(STATES)


def test_a_refusal_is_remembered_and_not_fetched_again(store, entry):
    a = entry("a")
    assert store.shelf.wants(a.id)
    with store.writing("test"):
        store.shelf.add(a)
        assert not store.shelf.wants(a.id)
        store.shelf.move(a.id, "refused", verdict='{"code": "num.nonfinite"}')
        assert not store.shelf.wants(a.id)
        assert not store.shelf.add(a)


def test_what_was_refused_for_one_reason_may_come_again_when_its_author_is_known(store, entry):
    friend = b"f" * 32
    with store.writing("test"):
        for name, author, reason in (
            ("full", friend, "no room"), ("bad", friend, "NaN"), ("other", b"o" * 32, "no room"),
        ):  # fmt: skip
            store.shelf.add(entry(name, author=author))
            store.shelf.move(entry(name).id, "refused", reason=reason)
        store.shelf.readmit(friend, "no room")
    assert store.shelf.ids() == {entry("bad").id, entry("other").id}


def test_a_patch_that_is_not_here_cannot_be_moved(store, entry):
    with store.writing("test"), pytest.raises(UnknownPatchError):
        store.shelf.move(entry("a").id, "refused")


def test_lists_are_sorted_by_id_and_filter_by_all_that_is_given(store, entry):
    with store.writing("test"):
        for name in "dbca":
            store.shelf.add(entry(name))
        store.shelf.add(entry("own", state="own", payload=BLOB, domain="iso-date"))
        store.shelf.add(entry("other", base=b"o" * 32, author=b"a" * 32))
    ids = [e.id for e in store.shelf.list()]
    assert ids == sorted(ids)
    assert len(ids) == 6
    assert store.shelf.list(state="own") == store.shelf.list(domain="iso-date")
    assert [e.id for e in store.shelf.list(base=b"o" * 32)] == [entry("other").id]
    found = store.shelf.list(author=b"a" * 32, state="quarantined")
    assert [e.id for e in found] == [entry("other").id]
    assert store.shelf.list(author=b"a" * 32, state="own") == ()
    assert store.shelf.counts() == {"quarantined": 5, "own": 1}


def test_around_a_number_lies_what_came_first(store, entry):
    before, first, second, after = (
        entry(name, seq=seq, prev=entry(prev).id)
        for name, seq, prev in (
            ("before", 6, "5"),
            ("1st", 7, "before"),
            ("2nd", 7, "x"),
            ("a", 8, "y"),
        )
    )
    with store.writing("test"):
        for one in (second, before, first, after):
            store.shelf.add(one)
        store.shelf.add(entry("another epoch", seq=9, epoch=1))
        store.shelf.add(entry("another device", seq=9, device=b"d" * 32))
    device = before.device
    assert store.shelf.around(device, 0, 7) == Neighbours(before.id, second.id, entry("y").id)
    assert store.shelf.around(device, 0, 9) == Neighbours(after.id, None, None)
    assert store.shelf.around(device, 0, 20) == Neighbours()


def test_nothing_is_written_outside_a_writing_block(store, entry):
    with pytest.raises(NotWritingError):
        store.shelf.add(entry("a"))
    with store.writing("test"):
        pass
    with pytest.raises(NotWritingError):
        store.feeds.claim(b"s" * 32, b"d" * 32, 1.0)
    assert store.shelf.list() == ()
    assert set(WITHOUT_PAYLOAD) < set(STATES)


def test_of_refusals_the_newest_stay_and_those_of_whom_the_caller_spares(store, entry):
    friend = b"f" * 32
    with store.writing("test"):
        for at, name in enumerate("abcd"):
            store.shelf.add(entry(name, state="refused", arrived_s=float(at)))
        store.shelf.add(entry("friend", state="refused", author=friend, arrived_s=0.0))
        store.shelf.add(entry("waits", state="quarantined", payload=BLOB))
        store.offers.add(entry("a").id, b"t" * 32)
        assert store.shelf.forget_refused(2, {friend}) == 2
        assert store.shelf.forget_refused(2, {friend}) == 0
    left = {"c", "d", "friend", "waits"}
    assert store.shelf.ids() == {entry(name).id for name in left}
    assert store.shelf.wants(entry("a").id)  # forgotten: it may be fetched again


def test_what_ever_served_is_not_forgotten_when_it_is_refused(store, entry):
    served = Served(entry("a").id, BLOB, entry("a").author)
    with store.writing("test"):
        store.shelf.add(entry("a", state="refused"))
        base = entry("a").base
        store.generations.commit(Generation(base, "roman", None, (served,), "", 1.0))
        assert store.shelf.forget_refused(0, ()) == 0


def test_what_is_here_is_told_in_the_order_of_arrival(store, entry):
    with store.writing("test"):
        for name, at in (("c", 3.0), ("a", 2.0), ("b", 2.0)):
            store.shelf.add(entry(name, arrived_s=at, relay=b"r" * 32))
        store.shelf.add(entry("refused", state="refused", payload=None))
        store.database.compact()
    assert [e.id for e in store.shelf.by_arrival()] == [entry(name).id for name in "abc"]
    assert store.shelf.by_arrival()[0].relay == b"r" * 32


def test_it_is_known_who_signs_with_which_device(store, entry):
    with store.writing("test"):
        for name in "ab":
            store.shelf.add(entry(name))
    assert store.shelf.devices() == {entry("a").device: entry("a").author}


def test_a_blob_is_needed_while_any_row_names_it(store, entry):
    with store.writing("test"):
        store.shelf.add(entry("a", state="quarantined", payload=BLOB))
        store.shelf.add(entry("b", state="refused", payload="cd" * 32))
    assert store.shelf.needs_blob(BLOB)
    assert not store.shelf.needs_blob("cd" * 32)


def test_a_patch_is_offered_in_one_topic_and_another_can_take_its_place(store, entry):
    one, two = b"1" * 32, b"2" * 32
    old, new = entry("old", state="own", payload=BLOB), entry("new", state="own", payload=BLOB)
    with store.writing("test"):
        store.shelf.add(old)
        store.shelf.add(new)
        store.offers.add(old.id, one)
        store.offers.add(old.id, two)  # it belongs to the first
        assert (store.offers.heads(one), store.offers.heads(two)) == ([old.id], [])
        store.offers.replace(old.id, new.id)
    assert store.offers.heads(one) == [new.id]
    assert (store.offers.topic_of(new.id), store.offers.topic_of(old.id)) == (one, None)
    assert store.shelf.counts() == {"own": 1}  # one payload, signed twice


def test_a_patch_is_offered_where_somebody_offered_it_while_it_is_here(store, entry):
    one, two = b"1" * 32, b"2" * 32
    with store.writing("test"):
        store.shelf.add(entry("a", state="own", payload=BLOB))
        store.shelf.add(entry("b", state="quarantined", payload=BLOB))
        for name in "ab":
            store.offers.add(entry(name).id, one)
            store.offers.add(entry(name).id, one)  # twice is once
        store.offers.add(entry("nowhere").id, one)
        assert store.offers.heads(one) == sorted(entry(name).id for name in "ab")
        assert store.offers.heads(two) == []
        store.shelf.move(entry("b").id, "refused")
    assert store.offers.heads(one) == [entry("a").id]
    assert store.offers.has(entry("a").id, {one, two})
    assert not store.offers.has(entry("a").id, {two})
    assert not store.offers.has(entry("b").id, {one})
