"""The everyday questions: of many kinds and languages, each once, never judge and judged."""

from collections import Counter

from hivelearn.inference.general_texts import claims_stay_above, general_texts, judge_harm
from hivelearn.training import rehearsal

ALL = 10_000
KINDS = {"facts", "how-to", "writing", "code", "talk", "maths", "translation", "advice", "lists"}


def test_every_text_is_asked_once_and_answered():
    texts = general_texts()
    assert len({text.prompt for text in texts}) == len(texts) >= 100
    assert all(text.prompt.strip() and text.answer.strip() for text in texts)


def test_what_judges_was_not_fitted_to():
    fitted, judging = claims_stay_above(ALL), judge_harm(ALL)
    assert not set(fitted) & set(judging)
    assert set(fitted) | set(judging) == set(general_texts())
    assert len(judging) >= 40  # twice what an interval needs


def test_no_training_rehearses_one_of_them():
    assert not {text.prompt for text in general_texts()} & set(rehearsal.QUESTIONS)


def test_both_parts_hold_the_common_kinds_and_languages():
    for part in (claims_stay_above(ALL), judge_harm(ALL)):
        assert {text.kind for text in part} >= KINDS
        languages = Counter(text.language for text in part)
        assert languages.keys() >= {"en", "de", "fr", "es", "zh"}
        assert languages["en"] < 2 / 3 * len(part)


def test_a_beginning_is_a_sample():
    for part in (claims_stay_above(24), judge_harm(24)):
        assert len(part) == 24
        assert len({text.kind for text in part}) >= 7
        assert len({text.language for text in part}) >= 4
