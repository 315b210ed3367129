"""Laws of descent on random histories."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.errors import PeerError
from hivelearn.patch.lineage import DEPTH_MAX, UnknownParentError, ancestors, depth


def _id(number):
    return number.to_bytes(32, "big")


@st.composite
def _histories(draw):
    """Patch -> parents, where parents are older: hashes allow nothing else."""
    size = draw(st.integers(1, 12))
    older = lambda n: st.lists(st.integers(0, n - 1), max_size=4, unique=True) if n else st.just([])
    return {_id(n): tuple(_id(p) for p in sorted(draw(older(n)))) for n in range(size)}


def _depths(history):
    depths = {}
    for patch in sorted(history):  # parents come first
        depths[patch] = depth(patch, history[patch], depths)
    return depths


@given(_histories())
def test_a_patch_is_one_deeper_than_its_deepest_parent(history):
    depths = _depths(history)
    for patch, parents in history.items():
        assert depths[patch] == max((depths[p] + 1 for p in parents), default=0)


@given(_histories())
def test_ancestors_are_the_parents_and_their_ancestors_each_once(history):
    for patch, parents in history.items():
        found = ancestors(patch, history)
        closure = set(parents).union(*(ancestors(p, history) for p in parents))
        assert len(found) == len(set(found))
        assert set(found) == closure
        assert patch not in found


@given(_histories())
def test_parents_come_before_grandparents_and_equal_histories_list_equally(history):
    patch = max(history)
    found = ancestors(patch, history)
    parents = sorted(history[patch])
    assert list(found[: len(parents)]) == parents
    shuffled = {key: tuple(reversed(history[key])) for key in sorted(history, reverse=True)}
    assert ancestors(patch, shuffled) == found


@given(_histories(), st.binary(min_size=32, max_size=32))
def test_an_unknown_patch_has_no_ancestors(history, stranger):
    if stranger not in history:
        assert ancestors(stranger, history) == ()


def test_an_absent_parent_is_nobody_s_fault_and_says_which():
    with pytest.raises(UnknownParentError) as caught:
        depth(_id(9), [_id(1), _id(2)], {_id(1): 0})
    assert (caught.value.fault, caught.value.code) == ("nobody", "lineage.orphan")
    assert (caught.value.patch, caught.value.parent) == (_id(9), _id(2))
    assert "parked" in caught.value.remedy


def test_depth_ends_at_its_limit_and_beyond_it_the_author_is_to_blame():
    assert depth(_id(9), [_id(1)], {_id(1): DEPTH_MAX - 1}) == DEPTH_MAX
    with pytest.raises(PeerError) as caught:
        depth(_id(9), [_id(1)], {_id(1): DEPTH_MAX})
    assert (caught.value.fault, caught.value.code) == ("author", "lineage.depth")


def test_a_forged_cycle_ends():
    assert ancestors(_id(1), {_id(1): (_id(2),), _id(2): (_id(1),)}) == (_id(2), _id(1))


def test_a_long_line_is_walked_without_recursion():
    line = {_id(n): (_id(n - 1),) if n else () for n in range(5_000)}
    assert len(ancestors(_id(4_999), line)) == 4_999
