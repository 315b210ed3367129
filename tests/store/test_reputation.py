"""What is remembered of authors comes back to the last bit, a row at a time."""

from hivelearn.store.reputation import StandingRecord, VouchRecord

ONE, TWO = b"a" * 32, b"z" * 32


def test_vouches_are_kept_after_they_are_withdrawn(store):
    with store.writing("vouch"):
        store.reputation.vouch(ONE, "met in person", 1.0)
        store.reputation.vouch(TWO, "", 2.0)
        assert store.reputation.withdraw(ONE, 3.0)
        assert not store.reputation.withdraw(ONE, 4.0)
        assert [v.author for v in store.reputation.vouches()] == [TWO]
        kept = store.reputation.vouches(withdrawn=True)[0]
        assert kept == VouchRecord(ONE, "met in person", 1.0, 3.0)
        store.reputation.vouch(ONE, "again", 5.0)
    assert store.reputation.vouches()[0] == VouchRecord(ONE, "again", 5.0)


def test_a_standing_is_written_without_touching_another(store):
    other = StandingRecord(TWO, 1.0, 0.1 + 0.2, 7, 0)
    with store.writing("judge"):
        store.reputation.set_standings([StandingRecord(ONE, 0.98, 3.92, 1, 0), other])
        store.reputation.set_standings([StandingRecord(ONE, 0.9604, 3.8416, 1, 1)])
    assert store.reputation.standings() == (StandingRecord(ONE, 0.9604, 3.8416, 1, 1), other)
    with store.writing("forget"):
        store.reputation.drop_standings([ONE])
    assert store.reputation.standings() == (other,)


def test_a_verdict_is_remembered_while_its_patch_is_here(store, entry):
    here, gone = entry("here"), entry("gone")
    with store.writing("judge"):
        store.shelf.add(here)
        store.reputation.hear({here.id: "success", gone.id: "harm"})
        assert store.reputation.heard() == {here.id: "success"}
        store.reputation.hear({here.id: "harm"})
    assert store.reputation.heard() == {here.id: "harm"}


def test_faults_stand_in_the_order_in_which_they_were_told_last(store):
    with store.writing("door"):
        for author, domain in ((ONE, "roman"), (TWO, "roman"), (ONE, "hex"), (ONE, "roman")):
            store.reputation.add_fault(author, domain)
        assert store.reputation.faults() == ((TWO, "roman"), (ONE, "hex"), (ONE, "roman"))
        store.reputation.drop_faults([(ONE, "hex")])
    assert store.reputation.faults() == ((TWO, "roman"), (ONE, "roman"))
