"""A correction is what was said: said again it is the same one, with a later time."""

import json

from hivelearn.store.imports import Defaults

BASE = b"b" * 32


def test_what_is_said_again_is_the_same_correction_and_the_last_word(store, correct):
    first = correct("14?", "XIV", created_s=1, wrong="IVX", generation=1)
    doubt, again = correct("14?", "IIXX", created_s=2), correct("14?", created_s=3, generation=2)
    assert again.id == first.id
    with store.writing("test"):
        assert store.journal.add([first, doubt]) == 2
        assert store.journal.add([again]) == 0
        assert store.journal.add([first]) == 0  # an older time takes nothing back
    (word,) = store.journal.list()
    assert (word.right, word.created_s, word.generation, word.wrong) == ("XIV", 3, 2, "IVX")
    assert store.journal.list(superseded=True) == (doubt, word)


def test_who_is_meant_and_what_it_is_about_make_it_another_correction(correct):
    kinds = [correct("14?"), correct("14 ?"), correct("14?", "xiv"), correct("14?", domain="hex")]
    assert len({c.id for c in [*kinds, correct("14?", subject="a pupil")]}) == 5


def test_what_is_said_again_in_the_inbox_moves_to_the_end_at_once(store, correct):
    with store.writing("test"):
        store.journal.add([correct("14?", created_s=1), correct("15?", created_s=2)])
    store.remember(correct("14?", created_s=3))
    assert [c.created_s for c in store.journal.list()] == [2, 3]
    with store.writing("drain"):
        pass
    assert [c.created_s for c in store.journal.list()] == [2, 3]


def test_a_file_imported_again_adds_nothing_and_changes_no_last_word(store, tmp_path):
    said = [("14?", "IVX"), ("14?", "XIV"), ("15?", "XV")]
    path = tmp_path / "corrections.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": q, "right": a}) for q, a in said))
    with store.writing("import"):
        assert store.journal.import_from(path, Defaults(BASE, 100.0, domain="roman")).new == 3
        assert store.journal.import_from(path, Defaults(BASE, 200.0, domain="roman")).new == 0
        assert store.journal.export_to(tmp_path / "out.jsonl") == 3
    assert [c.right for c in store.journal.list()] == ["XIV", "XV"]
