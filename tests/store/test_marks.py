"""What is noted of one domain or model is not noted of another."""

from hivelearn.store.marks import Turn

BASE, OTHER, BLOB = b"b" * 32, b"o" * 32, "ab" * 32


def test_turns_count_up_and_are_forgotten_with_the_wait(store, entry):
    one, two, three = (entry(name, state="sandboxed", payload=BLOB) for name in "abc")
    with store.writing("merge"):
        for each in (one, two, three):
            store.shelf.add(each)
        store.marks.take_turn("roman", "now", {one.id, two.id})
        store.marks.take_turn("roman", "later", {three.id, entry("not here").id})
        assert store.marks.turns("roman") == {
            one.id: Turn("now", 1),
            two.id: Turn("now", 1),
            three.id: Turn("later", 2),
        }
        store.shelf.move(one.id, "admitted")
        store.marks.take_turn("hex", "now", ())  # another domain's merge forgets nothing here
        assert one.id in store.marks.turns("roman")
        store.marks.take_turn("roman", "later", ())
    assert set(store.marks.turns("roman")) == {two.id, three.id}
    assert store.marks.turns("hex") == {}


def test_what_was_taken_back_waits_until_it_is_given_back(store):
    one, two = b"1" * 32, b"2" * 32
    with store.writing("roll back"):
        store.marks.take_back(BASE, "roman", [one])
        store.marks.take_back(BASE, "roman", [one, two])
        store.marks.take_back(BASE, "hex", [one])
        store.marks.take_back(OTHER, "roman", [one])
        assert store.marks.taken_back(BASE, "roman") == {one, two}
        store.marks.give_back(BASE, "roman")
    assert store.marks.taken_back(BASE, "roman") == set()
    assert store.marks.taken_back(BASE, "hex") == store.marks.taken_back(OTHER, "roman") == {one}


def test_what_one_model_cannot_read_another_can(store):
    with store.writing("note"):
        store.marks.leave_out(BASE, {"ab": "too long"})
        store.marks.leave_out(BASE, {"cd": "longer still"})
    assert store.marks.left_out(BASE) == {"ab": "too long", "cd": "longer still"}
    assert store.marks.left_out(OTHER) == {}


def test_the_last_training_is_the_one_that_counts(store):
    with store.writing("train"):
        store.marks.set_learnt(BASE, "roman", "first")
        store.marks.set_learnt(BASE, "roman", "second")
    assert store.marks.learnt(BASE, "roman") == "second"
    assert store.marks.learnt(OTHER, "roman") is None
