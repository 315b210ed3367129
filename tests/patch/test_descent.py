"""A record's descent is read strictly, and a trunk's name is what it is made of."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn import codec
from hivelearn.patch.descent import COUNT_MAX, ONE, PARTS_MAX, Descent, root_id, trunk_id

A, B = b"a" * 32, b"b" * 32
PART = Descent(A, 3, 12)
TRUNK = Descent(A, 3, 12, ((A, ONE // 2), (B, ONE // 2)), 300_000)

IDS = st.binary(min_size=32, max_size=32)
GOOD = st.builds(
    Descent,
    IDS,
    st.integers(0, COUNT_MAX),
    st.integers(0, COUNT_MAX),
    st.dictionaries(IDS, st.integers(1, ONE // 8), min_size=1, max_size=8).map(
        lambda parts: tuple(sorted(parts.items()))
    ),
    st.integers(0, ONE - 1),
)


@given(GOOD)
def test_what_is_written_is_read(descent):
    parts, onto = codec.decode(codec.encode(list(descent.to_values())))
    assert Descent.from_values(parts, onto) == descent


BAD = {
    "an id too short": dataclasses.replace(PART, onto=b"a"),
    "a negative height": dataclasses.replace(PART, height=-1),
    "a height beyond all": dataclasses.replace(PART, height=COUNT_MAX + 1),
    "true as height": dataclasses.replace(PART, height=True),
    "parts beyond all": dataclasses.replace(PART, parts_before=COUNT_MAX + 1),
    "momentum of a part": dataclasses.replace(PART, momentum=1),
    "momentum of one": dataclasses.replace(TRUNK, momentum=ONE),
    "parts not in order": dataclasses.replace(TRUNK, parts=((B, 1), (A, 1))),
    "a part twice": dataclasses.replace(TRUNK, parts=((A, 1), (A, 1))),
    "a factor of nothing": dataclasses.replace(TRUNK, parts=((A, 0),)),
    "a negative factor": dataclasses.replace(TRUNK, parts=((A, -1),)),
    "more than everything": dataclasses.replace(TRUNK, parts=((A, ONE), (B, 1))),
    "too many parts": dataclasses.replace(
        TRUNK, parts=tuple((n.to_bytes(32), 1) for n in range(PARTS_MAX + 1))
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_what_no_record_can_say_is_refused(bad):
    with pytest.raises(ValueError, match=r"descent|parts|factors|momentum|count"):
        Descent.from_values(*bad.to_values())


@given(st.recursive(st.none() | st.integers() | st.binary(), st.lists, max_leaves=12),
       st.recursive(st.none() | st.integers() | st.binary(), st.lists, max_leaves=12))  # fmt: skip
def test_whatever_stands_there_is_read_or_refused(parts, onto):
    try:
        found = Descent.from_values(parts, onto)
    except ValueError:
        return
    assert found.fault() is None


def test_a_trunk_is_named_by_all_that_makes_it():
    changed = [
        dataclasses.replace(TRUNK, onto=B),
        dataclasses.replace(TRUNK, parts=((A, ONE // 2), (B, ONE // 2 - 1))),
        dataclasses.replace(TRUNK, momentum=0),
    ]
    names = [trunk_id(A, "roman", 16, TRUNK)] + [trunk_id(A, "roman", 16, one) for one in changed]
    names += [trunk_id(B, "roman", 16, TRUNK), trunk_id(A, "dates", 16, TRUNK)]
    names += [trunk_id(A, "roman", 8, TRUNK), root_id(A, "roman"), root_id(B, "roman")]
    assert len(set(names)) == len(names)
