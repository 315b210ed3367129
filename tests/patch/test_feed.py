"""When two histories of an epoch are one, and up to which number."""

import pytest

from hivelearn.patch.feed import EPOCH_BITS, UNPUBLISHED, Neighbours, Place, agreed, draw_epoch

ME, PREV, OTHER = b"m" * 32, b"p" * 32, b"o" * 32
AT_7 = Place(5, 7, PREV)

CASES = {
    "nothing is known around it": (AT_7, Neighbours(), None),
    "its neighbours name it and are named by it": (AT_7, Neighbours(PREV, ME, ME), None),
    "another record has its number": (AT_7, Neighbours(PREV, OTHER, None), 6),
    "the next one names another": (AT_7, Neighbours(PREV, None, OTHER), 6),
    "it names another than the one before": (AT_7, Neighbours(OTHER, None, None), 5),
    "the earliest difference counts": (AT_7, Neighbours(OTHER, OTHER, OTHER), 5),
    "a gap says nothing": (Place(5, 7, None), Neighbours(OTHER, None, None), None),
    "two first records": (Place(5, 1, None), Neighbours(None, OTHER, None), 0),
    "a predecessor of the first": (Place(5, 1, PREV), Neighbours(OTHER, None, None), 0),
    "records in no feed contradict nothing": (UNPUBLISHED, Neighbours(OTHER, OTHER, OTHER), None),
}


@pytest.mark.parametrize(("place", "known", "common"), CASES.values(), ids=CASES.keys())
def test_two_histories_agree_up_to_a_number(place, known, common):
    assert agreed(ME, place, known) == common


def test_epochs_are_drawn_and_never_nought():
    drawn = {draw_epoch() for _ in range(100)}
    assert len(drawn) == 100
    assert all(0 < epoch < 2**EPOCH_BITS for epoch in drawn)
