"""Whose parts move a trunk: friends alike, strangers by a share, the late and the large less."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.patch.descent import ONE
from hivelearn.trunk.cohort import LARGE, STALE_MAX, Part, factors, newest
from hivelearn.trust.weights import Caps


def part(n, known="vouched", stale=0, norm=1.0, author=None):
    return Part(bytes([n]) * 32, bytes([author or n]) * 32, known, stale, norm)


def share(found, parts, known):
    return sum(found.get(each.root, 0) for each in parts if each.known == known) / ONE


PARTS = st.lists(
    st.tuples(
        st.sampled_from(["vouched", "proven", "unknown"]),
        st.integers(0, STALE_MAX),
        st.floats(0.0, 1e6),
    ),
    min_size=1,
    max_size=30,
)


def test_friends_count_alike_whatever_they_gain():
    found = factors([part(n) for n in range(1, 5)])
    assert set(found.values()) == {ONE // 4}


@given(PARTS)
def test_nobody_gets_what_another_loses(given_parts):
    parts = [part(n, *each) for n, each in enumerate(given_parts, 1)]
    found = factors(parts)
    assert sum(found.values()) <= ONE
    assert all(0 < factor <= ONE for factor in found.values())
    # With a part more, or one that is later or larger, nobody else moves the trunk more.
    late = [part(n, k, min(s + 1, STALE_MAX), x) if n == 1 else part(n, k, s, x)
            for n, (k, s, x) in enumerate(given_parts, 1)]  # fmt: skip
    after = factors(late)
    assert all(after.get(each.root, 0) <= found.get(each.root, 0) for each in parts)


@given(st.integers(1, 20), st.integers(0, 40), st.integers(0, 200))
def test_whom_nobody_vouches_for_moves_a_trunk_by_a_share_alone(friends, proven, strangers):
    kinds = ["vouched"] * friends + ["proven"] * proven + ["unknown"] * strangers
    parts = [Part(n.to_bytes(32), n.to_bytes(32), kind, 0, 1.0) for n, kind in enumerate(kinds)]
    found = factors(parts, Caps())
    assert share(found, parts, "unknown") <= 0.05 + 1e-6
    assert share(found, parts, "proven") <= 0.20 + 1e-6


def test_a_part_that_is_large_moves_no_more_than_two_usual_ones():
    parts = [part(1), part(2), part(3, norm=100.0)]
    found = factors(parts)
    assert found[parts[2].root] * 100.0 == pytest.approx(LARGE * found[parts[0].root], rel=1e-3)


def test_a_late_part_counts_half_for_each_trunk_since():
    parts = [part(1), part(2, stale=1), part(3, stale=2)]
    found = [factors(parts)[each.root] for each in parts]
    assert found == [ONE // 3, ONE // 6, ONE // 12]


def test_of_an_author_the_newest_part_counts_and_none_that_is_too_old():
    late = part(2, stale=STALE_MAX + 1)
    assert newest([part(1, stale=2, author=9), part(3, stale=1, author=9), late]) == [
        part(3, stale=1, author=9)
    ]


def test_strangers_alone_make_no_trunk():
    assert factors([part(1, "unknown"), part(2, "unknown")]) == {}
