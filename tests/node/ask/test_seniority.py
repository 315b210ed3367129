"""Who stands before whom where several claim a question."""

from itertools import permutations

from hivelearn.node.ask.seniority import by_seniority
from hivelearn.store.generations import Served

FRIEND, OTHER, PROVEN = b"f" * 32, b"o" * 32, b"p" * 32


def expert(payload, author):
    return Served(payload.encode() * 32, payload, author)


OLD, NEWER = expert("a", FRIEND), expert("b", FRIEND)
BETWEEN, EARLIEST, LOST = expert("c", OTHER), expert("d", PROVEN), expert("e", OTHER)
CAME = {OLD.patch: 2.0, NEWER.patch: 4.0, BETWEEN.patch: 3.0, EARLIEST.patch: 1.0}
PLACES = [("dates", OLD), ("dates", NEWER), ("food", BETWEEN), ("food", EARLIEST), ("x", LOST)]


def test_first_whom_the_owner_knows_then_who_came_first():
    expected = [OLD, BETWEEN, NEWER, LOST, EARLIEST]
    for places in permutations(PLACES):
        found = by_seniority(places, {FRIEND, OTHER}, CAME)
        assert [served for _, served in found] == expected
