"""What is remembered of authors comes back to the last bit, a row at a time."""

from hivelearn.store.reputation import BlameRecord, EvidenceRecord, VouchRecord

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


def test_blame_is_written_without_touching_another(store):
    other = BlameRecord(TWO, 0.1 + 0.2, 7)
    with store.writing("judge"):
        store.reputation.set_blame([BlameRecord(ONE, 3.92, 1), other])
        store.reputation.set_blame([BlameRecord(ONE, 3.8416, 1)])
    assert store.reputation.blame() == (BlameRecord(ONE, 3.8416, 1), other)
    with store.writing("forget"):
        store.reputation.drop_blame([ONE])
    assert store.reputation.blame() == (other,)


def test_evidence_is_remembered_while_its_patch_is_here(store, entry):
    here, gone = entry("here"), entry("gone")
    with store.writing("judge"):
        store.shelf.add(here)
        store.reputation.hear({here.id: "success", gone.id: "harm"})
        assert store.reputation.heard() == {here.id: "success"}
        (row,) = store.reputation.evidence()
        assert row == EvidenceRecord(here.id, here.author, "roman", "success", 1.0, compared=False)
        store.reputation.fade(0.98, [here.id])
        store.reputation.amend({here.id: "success"})
        (row,) = store.reputation.evidence()
        assert (row.worth, row.compared) == (0.98, True)
        store.reputation.doubt([here.id])
        assert not store.reputation.evidence()[0].compared
        store.reputation.hear({here.id: "harm"})
        assert store.reputation.heard() == {here.id: "harm"}
        store.shelf.move(here.id, "refused")
    assert store.reputation.evidence() == ()  # its payload may be gone: it speaks for nobody
    assert store.reputation.heard() == {here.id: "harm"}


def test_faults_stand_in_the_order_in_which_they_were_told_last(store):
    with store.writing("door"):
        for author, domain in ((ONE, "roman"), (TWO, "roman"), (ONE, "hex"), (ONE, "roman")):
            store.reputation.add_fault(author, domain)
        assert store.reputation.faults() == ((TWO, "roman"), (ONE, "hex"), (ONE, "roman"))
        store.reputation.drop_faults([(ONE, "hex")])
    assert store.reputation.faults() == ((TWO, "roman"), (ONE, "roman"))
