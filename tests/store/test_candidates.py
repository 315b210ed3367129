"""A merge that nobody adopted yet waits whole, under a number of its own."""

from hivelearn.store.candidates import Candidate

BASE = b"b" * 32


def test_candidates_wait_for_a_decision(store):
    given = Candidate(BASE, "roman", "ab" * 32, '{"gain": 0.01}', 1.0)
    with store.writing("merge"):
        first, second = store.candidates.leave(given), store.candidates.leave(given)
        assert [c.number for c in store.candidates.list(BASE, "roman")] == [first, second]
        store.candidates.drop(first)
        assert store.candidates.leave(given) not in (first, second)
    assert store.candidates.list(BASE, "roman")[0].detail == given.detail
    assert store.candidates.list(BASE, "hex") == ()
