"""Nodes that hear of each other's trunks end with one, whatever order they hear of them in."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.gate.gain import Gain, Unmeasured
from hivelearn.trunk.fork import Claim, takes_over

UNSURE = Gain(0.01, -0.1, 0.1, 40)
CLAIMS = st.lists(
    st.builds(Claim, st.binary(min_size=32, max_size=32), st.integers(1, 9)),
    min_size=1,
    max_size=5,
    unique_by=lambda claim: claim.id,
)


@given(CLAIMS)
def test_where_nobody_can_tell_all_end_with_one_trunk(claims):
    ends = set()
    for order in permutations(claims):
        mine = order[0]
        for other in order[1:]:
            if takes_over(mine, other, UNSURE):
                mine = other
        ends.add(mine.id)
    assert len(ends) == 1


@pytest.mark.parametrize(
    ("gain", "taken"),
    [
        (Gain(0.2, 0.1, 0.3, 40), True),
        (Gain(-0.2, -0.3, -0.1, 40), False),
        (UNSURE, False),
        (Unmeasured(), False),
    ],
)
def test_own_evidence_goes_before_what_is_claimed(gain, taken):
    """The other claims less: taken only where it is surely better."""
    assert takes_over(Claim(b"m" * 32, 9), Claim(b"o" * 32, 1), gain) is taken


def test_no_claim_makes_up_for_a_sure_loss():
    boast = Claim(bytes(32), 2**31 - 1)
    assert not takes_over(Claim(b"m" * 32, 1), boast, Gain(-0.2, -0.3, -0.1, 40))


def test_nobody_takes_over_the_trunk_that_one_has():
    mine = Claim(b"m" * 32, 9)
    assert not takes_over(mine, mine, Gain(0.2, 0.1, 0.3, 40))
