"""Corrections: which are refused, and on which side of the holdout each stands."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.store import errors
from hivelearn.store.correction import (
    MESSAGES_MAX,
    SUBJECT_MAX_BYTES,
    TEXT_MAX_BYTES,
    Correction,
    Message,
    from_plain,
    is_holdout,
    normalise,
    prompt_hash,
    to_conversation,
    to_plain,
)

BASE = b"b" * 32
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


def correction(question="14?", right="XIV", domain="roman", **more):
    fields = {"base": BASE, "created_s": 1.0} | more
    return Correction(to_conversation(question), right, domain, **fields)


USER = {"role": "user", "content": "14?"}

REFUSED = {
    "empty question": (errors.EmptyCorrectionError, lambda: correction("")),
    "blank question": (errors.EmptyCorrectionError, lambda: correction(" \n\u2003")),
    "blank answer": (errors.EmptyCorrectionError, lambda: correction(right="\t")),
    "enormous answer": (
        errors.CorrectionTooLargeError,
        lambda: correction(right="x" * TEXT_MAX_BYTES),
    ),
    "enormous in bytes alone": (
        errors.CorrectionTooLargeError,
        lambda: correction(right="ä" * (TEXT_MAX_BYTES // 2)),
    ),
    "enormous subject": (
        errors.CorrectionTooLargeError,
        lambda: correction(subject="s" * (SUBJECT_MAX_BYTES + 1)),
    ),
    "nul": (errors.BinaryTextError, lambda: correction("14\0")),
    "escape": (errors.BinaryTextError, lambda: correction(right="\x1b[2J")),
    "lone surrogate": (errors.BinaryTextError, lambda: correction(wrong="\ud800")),
    "bytes as question": (errors.MalformedMessagesError, lambda: correction(b"14")),
    "bytes as answer": (errors.BinaryTextError, lambda: correction(right=b"XIV")),
    "list as wrong": (errors.BinaryTextError, lambda: correction(wrong=[])),
    "object as subject": (errors.BinaryTextError, lambda: correction(subject={})),
    "zero as wrong": (errors.BinaryTextError, lambda: correction(wrong=0)),
    "false as subject": (errors.BinaryTextError, lambda: correction(subject=False)),
    "number as content": (
        errors.BinaryTextError,
        lambda: correction([{"role": "user", "content": 14}]),
    ),
    "no messages": (errors.MalformedMessagesError, lambda: correction([])),
    "too many messages": (
        errors.MalformedMessagesError,
        lambda: correction([USER] * (MESSAGES_MAX + 1)),
    ),
    "unknown role": (
        errors.MalformedMessagesError,
        lambda: correction([{"role": "tool", "content": "x"}]),
    ),
    "unhashable role": (
        errors.MalformedMessagesError,
        lambda: correction([{"role": ["user"], "content": "x"}]),
    ),
    "ends with the assistant": (
        errors.MalformedMessagesError,
        lambda: correction([USER, {"role": "assistant", "content": "IVX"}]),
    ),
    "extra field": (errors.MalformedMessagesError, lambda: correction([USER | {"name": "x"}])),
    "one message, not a list": (errors.MalformedMessagesError, lambda: correction(USER)),
    "number": (errors.MalformedMessagesError, lambda: correction(14)),
    "empty domain": (errors.DomainNameError, lambda: correction(domain="")),
    "capital domain": (errors.DomainNameError, lambda: correction(domain="Roman")),
    "long domain": (errors.DomainNameError, lambda: correction(domain="a" * 64)),
    "domain with newline": (errors.DomainNameError, lambda: correction(domain="roman\n")),
    "domain as path": (errors.DomainNameError, lambda: correction(domain="../x")),
    "no domain": (errors.DomainNameError, lambda: correction(domain=None)),
    "short base": (errors.CorrectionError, lambda: correction(base=b"b")),
    "time is nan": (errors.CorrectionError, lambda: correction(created_s=float("nan"))),
    "time is before 1970": (errors.CorrectionError, lambda: correction(created_s=-1.0)),
    "time is text": (errors.CorrectionError, lambda: correction(created_s="now")),
    "generation zero": (errors.CorrectionError, lambda: correction(generation=0)),
    "generation true": (errors.CorrectionError, lambda: correction(generation=True)),
    "plain without answer": (
        errors.CorrectionError,
        lambda: from_plain({"messages": [USER], "domain": "roman", "base": BASE.hex()}),
    ),
    "plain with bad base": (
        errors.CorrectionError,
        lambda: from_plain(to_plain(correction()) | {"base": "zz"}),
    ),
    "plain with number as base": (
        errors.CorrectionError,
        lambda: from_plain(to_plain(correction()) | {"base": 7}),
    ),
}


@pytest.mark.parametrize(("error", "make"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_teach_is_refused_with_its_own_error(error, make):
    with pytest.raises(error) as caught:
        make()
    assert type(caught.value) is error
    assert caught.value.remedy


def test_the_largest_correction_is_taken():
    assert correction("1", "x" * (TEXT_MAX_BYTES - 1)).right


@given(TEXT)
def test_normalising_twice_changes_nothing(text):
    once = normalise(text)
    assert normalise(once) == once


@given(TEXT, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_spelling_spacing_and_case_do_not_make_another_question(text, form):
    same = normalise(text)
    assert normalise(unicodedata.normalize(form, text)) == same
    assert normalise(unicodedata.normalize("NFD", text).casefold()) == same
    assert normalise("\n" + text.replace(" ", " \t ") + "  ") == same


@given(TEXT, TEXT, TEXT)
def test_what_the_model_said_before_does_not_make_another_question(question, said, other):
    asked = Message("user", question)
    first, second = (asked, Message("assistant", said), asked), (asked, asked)
    assert prompt_hash(first) == prompt_hash(second)
    assert prompt_hash((asked, Message("assistant", other), asked)) == prompt_hash(first)


def test_same_question_same_side_in_other_domains_and_spellings():
    spellings = ["Write 14 in ROMAN", "write  14 in roman ", "Write \uff11\uff14 in Roman"]
    sides = {
        correction(text, right, domain).prompt
        for text in spellings
        for right, domain in [("XIV", "roman"), ("E", "hex")]
    }
    assert len(sides) == 1


def test_turns_cannot_be_moved_between_roles_or_messages():
    one = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    two = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    three = [{"role": "user", "content": "a b"}]
    assert len({prompt_hash(to_conversation(m)) for m in (one, two, three)}) == 3


def test_one_question_in_five_is_held_out():
    held = sum(correction(f"Write {n} in Roman numerals.").holdout for n in range(5000))
    assert 900 < held < 1100  # binomial(5000, 1/5): mean 1000, five deviations 141


def test_the_side_of_a_question_never_changes_between_releases():
    prompt = prompt_hash(to_conversation("Write 14 in Roman numerals."))
    assert prompt.hex() == "4de826454fdcc32f6b216746575ccc3f9cd7337489c16cbb93669ff9a08ffcc3"
    assert is_holdout(bytes(32))
    assert not is_holdout(bytes(7) + b"\x01" + bytes(24))


@given(TEXT, TEXT, st.none() | TEXT, st.floats(0, 1e11))
def test_json_gives_back_the_same_correction(question, right, wrong, created_s):
    try:
        made = correction(question + "?", right + "!", wrong=wrong, created_s=created_s)
    except errors.BinaryTextError:
        return
    assert from_plain(to_plain(made)) == made


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)


@given(st.sampled_from(sorted(to_plain(correction()).keys() - {"id", "holdout"})), JSON)
def test_json_of_any_kind_in_any_field_is_a_correction_that_comes_back_or_is_refused(name, value):
    try:
        made = from_plain(to_plain(correction()) | {name: value})
    except errors.CorrectionError:
        return
    assert from_plain(to_plain(made)) == made


def test_what_is_wrong_is_said_of_the_field_that_is_wrong():
    with pytest.raises(errors.CorrectionError, match="the base is not hexadecimal"):
        from_plain(to_plain(correction()) | {"base": 5})
    with pytest.raises(errors.CorrectionError, match="the time is no number"):
        from_plain(to_plain(correction()) | {"created_s": "x"})
