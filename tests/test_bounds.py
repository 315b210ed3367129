"""A rule takes what its words say and nothing else; every setting has one."""

import math

import pytest

from hivelearn import bounds
from hivelearn.bounds import FLAG, NONE, TEXT, a, many, real, whole
from hivelearn.errors import UsageError
from hivelearn.inference.sampling import SAMPLING, Sampling
from hivelearn.node.config import RULES, NodeConfig
from hivelearn.node.share.network import RULES as JOINING
from hivelearn.node.share.network import JoinOptions
from hivelearn.training.recipe import RULES as RECIPE
from hivelearn.training.recipe import Recipe

NAN, INF = math.nan, math.inf
CASES = {
    "a whole number from 1 to 3": (whole(1, 3), (1, 3), (0, 4, 2.0, True, "1", None, NAN, 10**400)),
    "a whole number from 0": (whole(0), (0, 2**63 - 1), (-1, 2**63, False)),
    "a number from 0 to 1": (real(0, 1), (0, 0.5, 1), (-0.1, 1.1, NAN, INF, True, "0", [], None)),
    "a number from 0, below 1": (real(0, 1, below=True), (0, 0.99), (1, NAN)),
    "a number above 0": (real(0, above=True), (5e-324, 1e308), (0, INF, -INF, NAN, 10**400)),
    "a number from 0": (real(0), (0, 0.0), (INF, -1e-9)),
    "True or False": (FLAG, (True, False), (0, 1, None, "no")),
    "None, or text": (NONE | TEXT, (None, "", "x"), (0, b"x")),
    "a list": (many(TEXT, "a list", least=1), (["x"], ("x", "y")), ([], (), "x", ["x", 1], {"x"})),
    "a byte string": (a(bytes, "a byte string"), (b"",), ("", None)),
}


@pytest.mark.parametrize(("words", "case"), CASES.items(), ids=CASES.keys())
def test_a_rule_takes_what_its_words_say_and_nothing_else(words, case):
    rule, taken, refused = case
    assert rule.words == words
    assert [given for given in taken if not rule.holds(given)] == []
    assert [given for given in refused if rule.holds(given)] == []


def test_a_refusal_names_the_setting_and_what_would_be_taken():
    rules = {"rank": whole(1, 64), "note": TEXT}
    bounds.check(rules, {"rank": 1, "note": ""})
    with pytest.raises(UsageError) as caught:
        bounds.check(rules, {"rank": 1, "note": 5}, what="this cannot be")
    assert caught.value.what == "this cannot be: note = 5"
    assert caught.value.remedy == "Give note as text."
    with pytest.raises(UsageError, match="rank = 0"):
        bounds.check(rules, {"rank": 0, "note": ""})
    with pytest.raises(UsageError) as caught:
        bounds.check(rules, {"rank": "x" * 999, "note": ""})
    assert len(caught.value.what) < 100


def test_a_name_that_is_not_known_is_refused_with_those_that_are():
    bounds.check_names(["rank", "note"], ["note"], what="this")
    with pytest.raises(UsageError) as caught:
        bounds.check_names(["rank", "note"], {"rank": 1, "y": 2, "x": 3}, what="this")
    assert caught.value.what == "this has no setting 'x'"
    assert caught.value.remedy == "It has: rank, note."


@pytest.mark.parametrize(
    ("rules", "record"),
    [(RULES, NodeConfig), (JOINING, JoinOptions), (RECIPE, Recipe), (SAMPLING, Sampling)],
)
def test_every_setting_has_a_rule_that_takes_its_default(rules, record):
    assert rules.keys() == set(record.__slots__)
    bounds.check_record(rules, record())


def test_a_name_that_is_nearly_right_is_told():
    with pytest.raises(UsageError, match="no setting 'nate': did you mean 'note'"):
        bounds.check_names(["rank", "note"], ["nate"], what="this")


def test_a_record_that_cannot_be_made_is_refused_before_it_is():
    bounds.check_arguments(["rank", "note"], (1,), ["note"], what="this")
    with pytest.raises(UsageError, match="no setting 'rnak': did you mean 'rank'"):
        bounds.check_arguments(["rank", "note"], (), ["rnak"], what="this")
    with pytest.raises(UsageError, match="has 2 settings, not 3"):
        bounds.check_arguments(["rank", "note"], (1, 2, 3), (), what="this")
